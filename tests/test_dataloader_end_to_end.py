"""From a pipeline's outputs over real speech to shards to batches, through every part of it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from torch.utils.data import DataLoader

import ossicle
from ossicle.dataloader import (
    Compose,
    FilterConfig,
    LabelEncoder,
    MaskGenerator,
    MetadataSampler,
    OnlineWindower,
    SpeechCollator,
    SpeechDataset,
    WebDatasetLoader,
    WebDatasetSpeechDataset,
    build_manifest,
)

webrtcvad = pytest.importorskip("webrtcvad", reason="webrtcvad-wheels finds the speech here")
SPEECH = Path(__file__).parents[2] / "shared" / "data" / "speech"
RATE, STEP = 16_000, 480  # 30 ms, the detector's frame
SPEAKERS = {"jfk": "MAL", "LJ002-0020": "FEM", "LJ002-0035": "FEM"}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Corpus:
    """What was recorded and what the stages found.

    Attributes:
        outputs: The pipeline's output folder.
        shards: Of the recordings in FLAC with what is known beside them.
        waveforms: By recording, as they were written.
        speech: Seconds of speech by recording.
        snr: In dB by recording.
    """

    outputs: Path
    shards: list[Path] = field(default_factory=list)
    waveforms: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    speech: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    snr: dict[str, float] = field(default_factory=dict)


def recordings() -> Iterator[tuple[str, str, npt.NDArray[np.float32]]]:
    """Name, speaker and samples: each utterance between silences, over noise of four loudnesses."""
    noise = np.random.default_rng(0)
    for path, decibels in itertools.product(sorted(SPEECH.glob("*.*")), (-60, -30)):
        if path.suffix in (".wav", ".flac", ".mp3"):
            utterance, _ = ossicle.load(path, RATE)
            hush = np.zeros(RATE, np.float32)
            joined = np.concatenate([hush, utterance, hush, utterance[: 2 * RATE], hush])
            level = 10 ** (decibels / 20) * float(np.sqrt(np.mean(utterance**2)))
            noisy = joined + noise.normal(0, level, len(joined)).astype(np.float32)
            quiet = (0.9 * noisy / np.abs(noisy).max()).astype(np.float32)
            # As FLAC of 16 bits holds it.
            exact = np.rint(quiet * 32_768) / 32_768
            name = f"{path.stem} at {-decibels}"
            yield name, SPEAKERS.get(path.stem, "CHI"), exact.astype(np.float32)


def detected(waveform: npt.NDArray[np.float32]) -> list[tuple[float, float]]:
    """Where the detector hears speech, in seconds."""
    detector = webrtcvad.Vad(2)
    pcm = (waveform * 32_767).astype("<i2")
    frames = [pcm[at : at + STEP].tobytes() for at in range(0, len(pcm) - STEP + 1, STEP)]
    flags = [detector.is_speech(frame, RATE) for frame in frames]
    found, at = [], 0
    for is_speech, run in itertools.groupby(flags):
        count = len(list(run))
        if is_speech:
            found.append((at * STEP / RATE, (at + count) * STEP / RATE))
        at += count
    return found


def merged(segments: list[tuple[float, float]], gap: float = 0.3) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for onset, offset in segments:
        if joined and onset - joined[-1][1] <= gap:
            joined[-1] = joined[-1][0], offset
        else:
            joined.append((onset, offset))
    return joined


def signal_to_noise(
    waveform: npt.NDArray[np.float32], speech: list[tuple[float, float]]
) -> tuple[float, npt.NDArray[np.bool_]]:
    is_speech = np.zeros(len(waveform), bool)
    for onset, offset in speech:
        is_speech[round(onset * RATE) : round(offset * RATE)] = True
    power = [float(np.mean(waveform[part] ** 2)) for part in (is_speech, ~is_speech)]
    return 10 * math.log10(power[0] / power[1]), is_speech


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The four stages over the recordings, written as the pipeline writes them, and the shards."""
    if not SPEECH.is_dir():
        pytest.skip("the recordings beside the repository are absent")
    root = tmp_path_factory.mktemp("corpus")
    made = Corpus(root / "outputs")
    tables: dict[str, list[dict[str, Any]]] = {}
    with ossicle.ShardWriter(str(root / "clips-%03d.tar"), max_samples=4) as writer:
        for name, speaker, waveform in recordings():
            made.waveforms[name] = waveform
            raw = detected(waveform)
            made.speech[name] = merged(raw)
            made.snr[name], is_speech = signal_to_noise(waveform, raw)
            for table, rows in stages(name, speaker, waveform, raw, made).items():
                tables.setdefault(table, []).extend(rows)
            snr = made.outputs / "snr" / f"{name}.npz"
            snr.parent.mkdir(parents=True, exist_ok=True)
            np.savez(snr, snr=np.full(len(is_speech) // STEP, made.snr[name]), step_s=0.03)
            segments = [{"onset": a, "offset": b, "label": speaker} for a, b in made.speech[name]]
            flac = ossicle.audio.encode(waveform, RATE, "flac")
            writer.write({"__key__": name, "flac": flac, "json": {"vtc_merged": segments}})
    for table, rows in tables.items():
        path = made.outputs / table
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows).write_parquet(path)
    made.shards = sorted(root.glob("clips-*.tar"))
    return made


def stages(
    name: str,
    speaker: str,
    waveform: npt.NDArray[np.float32],
    raw: list[tuple[float, float]],
    made: Corpus,
) -> dict[str, list[dict[str, Any]]]:
    """Rows of each table for one recording."""
    duration, joined = len(waveform) / RATE, made.speech[name]

    def rows(segments: list[tuple[float, float]], **more: Any) -> list[dict[str, Any]]:
        return [
            {"uid": name, "onset": a, "offset": b, "duration": b - a, **more} for a, b in segments
        ]

    ratio = sum(b - a for a, b in raw) / duration
    counts = json.dumps({speaker: len(joined)})
    vad = {"file_id": name, "duration": duration, "speech_ratio": ratio, "n_segments": len(raw)}
    vtc = {"uid": name, "vtc_status": "met_target", "vtc_n_segments": len(joined)}
    esc = {"uid": name, "esc_status": "ok", "dominant_category": "other", "dominant_prob": 0.9}
    return {
        "vad_meta/metadata.parquet": [{**vad, "success": True, "error": None}],
        "vad_raw/segments.parquet": rows(raw),
        "vad_merged/segments.parquet": rows(joined),
        "vtc_meta/shard_0.parquet": [{**vtc, "vtc_label_counts": counts, "error": None}],
        "vtc_raw/shard_0.parquet": rows(raw, label=speaker),
        "vtc_merged/shard_0.parquet": rows(joined, label=speaker),
        "snr_meta/shard_0.parquet": [
            {"uid": name, "snr_status": "ok", "snr_mean": made.snr[name], "c50_mean": 20.0}
        ],
        "esc_meta/shard_0.parquet": [esc],
    }


def test_the_detector_hears_the_speech_and_not_the_silence(corpus: Corpus) -> None:
    for name, waveform in corpus.waveforms.items():
        if name.endswith("at 60"):
            heard = sum(b - a for a, b in corpus.speech[name])
            assert 0.2 < heard * RATE / len(waveform) < 0.95, name
    assert len(corpus.waveforms) >= 10


def test_the_manifest_has_all_and_filters_by_what_was_measured(corpus: Corpus) -> None:
    manifest = build_manifest(corpus.outputs)
    assert sorted(manifest.wav_ids) == sorted(corpus.waveforms)
    by_id = {row["wav_id"]: row for row in manifest.df.to_dicts()}
    for name, waveform in corpus.waveforms.items():
        assert by_id[name]["duration"] == len(waveform) / RATE
        assert by_id[name]["snr_mean"] == corpus.snr[name]
    bound = float(np.median(list(corpus.snr.values())))
    clean = build_manifest(corpus.outputs, filters=FilterConfig(min_snr_db=bound))
    assert sorted(clean.wav_ids) == sorted(n for n, snr in corpus.snr.items() if snr >= bound)
    women = build_manifest(corpus.outputs, filters=FilterConfig(required_labels=["FEM"]))
    assert {name.split(" ")[0] for name in women.wav_ids} == {"LJ002-0020", "LJ002-0035"}


def dataset_of(corpus: Corpus, seed: int = 0) -> SpeechDataset:
    transform = Compose(
        [
            LabelEncoder(labels=["CHI", "FEM", "KCHI", "MAL", "OCHI"]),
            MaskGenerator(mask_prob=0.1, mask_length=5),
        ]
    )
    return SpeechDataset(
        WebDatasetLoader(corpus.shards),
        transform,
        manifest=build_manifest(corpus.outputs),
        windower=OnlineWindower("vad", length=4.0, key="vtc_merged"),
        seed=seed,
    )


def assert_true(batch: Any, corpus: Corpus) -> list[str]:
    """Each row is the very samples that were recorded, and masks and labels are of its length."""
    lengths = batch.waveform_lengths.tolist()
    assert batch.attention_mask.sum(dim=1).tolist() == lengths
    for row, length, known, labels, mask in zip(
        batch.waveforms, lengths, batch.metadata, batch.labels, batch.label_mask, strict=True
    ):
        name = known["wav_id"]
        assert float(row[:, length:].abs().sum()) == 0
        whole = corpus.waveforms[name]
        segments = known["vtc_merged"]
        assert int(mask.sum()) == len(segments) > 0
        assert set(labels[mask].tolist()) == {speaker_number(name)}
        found = place_of(row[0, :length].numpy(), whole)
        for segment in segments:
            # A segment of the window is one of the recording, moved by the window's onset.
            onset, offset = (segment[key] + found / RATE for key in ("onset", "offset"))
            assert any(a - 1e-3 <= onset and offset <= b + 1e-3 for a, b in corpus.speech[name])
    return [known["clip_id"] for known in batch.metadata]


def speaker_number(name: str) -> int:
    return ["CHI", "FEM", "KCHI", "MAL", "OCHI"].index(SPEAKERS.get(name.split(" at ")[0], "CHI"))


def place_of(piece: npt.NDArray[np.float32], whole: npt.NDArray[np.float32]) -> int:
    """Where in a recording a window was cut, by its samples alone."""
    places = np.flatnonzero(whole[: len(whole) - len(piece) + 1] == piece[0])
    for place in places.tolist():
        if np.array_equal(whole[place : place + len(piece)], piece):
            return place
    raise AssertionError("these samples are not in the recording")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_recorded_samples(corpus: Corpus, workers: int) -> None:
    data = dataset_of(corpus)
    context = {"num_workers": workers, "multiprocessing_context": "fork" if workers else None}
    loader = DataLoader(data, batch_size=4, collate_fn=SpeechCollator(), **context)
    seen = [clip for batch in loader for clip in assert_true(batch, corpus)]
    assert len(seen) == len(set(seen)) == len(data)
    heard = sum(b - a for name in corpus.speech for a, b in corpus.speech[name])
    # All speech is in one window each: nothing is lost on the way.
    total = sum(
        segment["offset"] - segment["onset"]
        for index in range(len(data))
        for segment in data[index][2]["vtc_merged"]
    )
    assert total == pytest.approx(heard, abs=1e-3 * len(data))


def test_each_speaker_equally_often(corpus: Corpus) -> None:
    manifest = build_manifest(corpus.outputs)
    speakers = [SPEAKERS.get(name.split(" at ")[0], "CHI") for name in manifest.wav_ids]
    frame = manifest.df.with_columns(pl.Series("speaker", speakers))
    sampler = MetadataSampler(frame, strata=["speaker"], shares="equal", num_samples=6)
    data = SpeechDataset(WebDatasetLoader(corpus.shards), manifest=frame)
    loader = DataLoader(data, batch_size=3, sampler=sampler, collate_fn=SpeechCollator())
    drawn = [known["speaker"] for batch in loader for known in batch.metadata]
    assert sorted(drawn) == ["CHI", "CHI", "FEM", "FEM", "MAL", "MAL"]


def test_the_stream_gives_the_same_as_random_access(corpus: Corpus) -> None:
    stream = WebDatasetSpeechDataset([str(path) for path in corpus.shards])
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    random = WebDatasetLoader(corpus.shards)
    names = []
    for waveform, rate, known in loader:
        names.append(known["wav_id"])
        assert rate == RATE
        assert torch.equal(waveform, random.load_waveform(known["wav_id"])[0])
    assert sorted(names) == sorted(corpus.waveforms)

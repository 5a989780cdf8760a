"""The corpus of speech: its sentences, its parts, and what becomes of it where it stops."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import ossicle
from ossicle.cli import app
from ossicle.experiment import spoken
from ossicle.experiment.spoken import (
    SpokenConfig,
    SynthesiserError,
    make_spoken,
    sentence,
    vocabulary,
)

SMALL = SpokenConfig(clips=6, held_out=3, texts=20, speaker="tones")


def rows_of(manifest: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_a_sentence_has_words_of_the_vocabulary_and_a_full_stop(seed: int) -> None:
    text = sentence(np.random.default_rng(seed))
    assert text.endswith(".")
    words = text[:-1].split()
    assert 4 <= len(words) <= 9
    assert set(words) <= set(vocabulary())
    for word, after in itertools.pairwise(words):
        assert word != "a" or after[0] not in "aeio"
        assert word != "an" or after[0] in "aeio"


def test_the_vocabulary_is_used_up() -> None:
    random = np.random.default_rng(0)
    said = {word for _ in range(5_000) for word in sentence(random)[:-1].split()}
    assert said == set(vocabulary())
    assert len(said) == 110


def test_no_held_out_sentence_is_in_another_part() -> None:
    config = SpokenConfig(clips=2_000, held_out=200, texts=20_000)
    held_out, train, texts = spoken._parts(config)
    held = {utterance.text for utterance in held_out}
    assert (len(held), len(held_out)) == (200, 200)
    assert len({utterance.text for utterance in train}) == len(train) == 2_000
    assert len(texts) == 20_000
    assert held.isdisjoint(utterance.text for utterance in train)
    assert held.isdisjoint(texts)
    assert {u.voice for u in train} == {
        f"{voice}+{variant}" for voice in spoken.VOICES for variant in spoken.VARIANTS
    }
    assert {u.pitch for u in train} == set(range(30, 71))
    assert {u.words_per_minute for u in train} == set(range(140, 191))


def test_the_grammar_says_when_it_has_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken, "sentence", lambda _: "always the same.")
    with pytest.raises(ValueError, match="has only about 1 sentences"):
        spoken._parts(SMALL)


def test_a_corpus_is_what_its_manifests_say(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    made = make_spoken(tmp_path, SMALL, on_clip=lambda *at: done.append(at))
    assert done == [(i, 9) for i in range(1, 10)]
    for manifest, count in ((made.train, 6), (made.held_out, 3)):
        rows = rows_of(manifest)
        assert len(rows) == count
        for row in rows:
            facts = ossicle.info(tmp_path / str(row["wav"]))
            assert facts.sample_rate == row["sr"]
            assert facts.channels == 1
            assert 0.5 < facts.duration < 6
    assert len(made.texts.read_text().splitlines()) == 20
    assert not list(tmp_path.rglob("partial-*"))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    def content(name: str, seed: int) -> dict[str, bytes]:
        config = SpokenConfig(6, 3, 20, seed, "tones")
        make_spoken(tmp_path / name, config)
        files = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}

    assert content("a", 0) == content("b", 0) != content("c", 1)


def test_a_stopped_call_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_spoken(tmp_path, SMALL)
    first, second = (made.train.parent / "train" / f"{i:05}.wav" for i in (0, 1))
    expected = second.read_bytes()
    second.unlink()
    kept = first.stat().st_mtime_ns
    said: list[Path] = []
    say = spoken._say_tones
    monkeypatch.setattr(spoken, "_say_tones", lambda u, path: (said.append(path), say(u, path)))
    make_spoken(tmp_path, SMALL)
    assert len(said) == 1
    assert second.read_bytes() == expected
    assert first.stat().st_mtime_ns == kept


def test_a_failure_leaves_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: spoken.Utterance, path: Path) -> None:
        path.write_bytes(b"half")
        raise SynthesiserError("no voice")

    monkeypatch.setattr(spoken, "_say_tones", fail)
    with pytest.raises(SynthesiserError, match="no voice"):
        make_spoken(tmp_path, SMALL)
    assert not list(tmp_path.rglob("0*.wav"))


def test_another_corpus_is_not_overwritten(tmp_path: Path) -> None:
    make_spoken(tmp_path, SMALL)
    with pytest.raises(ValueError, match="another corpus"):
        make_spoken(tmp_path, SpokenConfig(7, 3, 20, 0, "tones"))


@pytest.mark.parametrize(
    "wrong", [{"clips": 0}, {"held_out": 0}, {"texts": -1}, {"seed": -1}, {"speaker": "me"}]
)
def test_what_makes_no_sense_is_refused_by_name(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpokenConfig(**wrong)


def test_a_missing_synthesiser_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SynthesiserError, match="apt-get install espeak-ng"):
        make_spoken(tmp_path, SpokenConfig(2, 2, 2))
    answer = CliRunner().invoke(app, ["corpus", "spoken", str(tmp_path / "b")])
    assert answer.exit_code == 1
    assert "apt-get install espeak-ng" in " ".join(answer.output.split())


def test_a_synthesiser_that_fails_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "no such voice\n")
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/espeak-ng")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SynthesiserError, match=r"espeak-ng -v .* no such voice"):
        make_spoken(tmp_path, SpokenConfig(2, 2, 2))


def test_the_command_makes_a_corpus(tmp_path: Path) -> None:
    arguments = ["corpus", "spoken", str(tmp_path), "--clips", "2", "--held-out", "1"]
    answer = CliRunner().invoke(app, [*arguments, "--texts", "3", "--speaker", "tones"])
    assert answer.exit_code == 0, answer.output
    assert len(rows_of(tmp_path / "train.jsonl")) == 2


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_espeak_says_sentences_at_their_pace(tmp_path: Path) -> None:
    made = make_spoken(tmp_path, SpokenConfig(4, 2, 2))
    for manifest in (made.train, made.held_out):
        for row in rows_of(manifest):
            facts = ossicle.info(tmp_path / str(row["wav"]))
            words = len(str(row["text"]).split())
            assert facts.sample_rate == row["sr"]
            assert 0.2 * words < facts.duration < 0.8 * words
            waveform, _ = ossicle.load(tmp_path / str(row["wav"]))
            assert np.abs(waveform).max() > 0.05

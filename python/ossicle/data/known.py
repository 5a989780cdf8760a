"""The table of formats."""

from __future__ import annotations

from pathlib import Path

from ossicle.data.formats import (
    espnet,
    folders,
    json_lines,
    kaldi,
    lhotse,
    nemo,
    parquet,
    saved,
    speechlm,
    table,
    webdataset,
)
from ossicle.data.registry import FORMATS, Format

__all__ = ["FORMATS"]


def _clips(path: Path) -> Path:
    folder = path if path.is_dir() else path.parent
    return folder / "clips"


_ALL = [
    Format(
        "jsonl", "JSON lines", json_lines.read_lines, json_lines.write_lines, (".jsonl", ".ndjson")
    ),
    Format("json", "a JSON array", json_lines.read_array, json_lines.write_array, (".json",)),
    Format("csv", "CSV with a header", table.reader(table.CSV), table.writer(table.CSV), (".csv",)),
    Format(
        "tsv",
        "TSV with a header, quotes as text",
        table.reader(table.TSV),
        table.writer(table.TSV),
        (".tsv",),
    ),
    Format(
        "tsv-quoted",
        "TSV with the quotes of CSV",
        table.reader(table.QUOTED_TSV),
        table.writer(table.QUOTED_TSV),
    ),
    Format(
        "parquet",
        "Parquet, of paths or with recordings inside",
        parquet.read_parquet,
        parquet.write_parquet,
        (".parquet",),
    ),
    Format("lhotse", "cuts of lhotse", lhotse.read_cuts, lhotse.write_cuts, (".jsonl.gz",)),
    Format("shar", "a Shar directory of lhotse", lhotse.read_shar, lhotse.write_shar),
    Format("nemo", "a manifest of NeMo", json_lines.read_lines, nemo.write_nemo),
    Format(
        "nemo-tarred", "a manifest of NeMo beside its tars", nemo.read_tarred, nemo.write_tarred
    ),
    Format(
        "kaldi",
        "a data directory of Kaldi",
        kaldi.read_kaldi,
        kaldi.write_kaldi,
        root=kaldi.root_of,
    ),
    Format("espnet", "data.json of ESPnet", espnet.read_espnet),
    Format("speechlm", "data.json of ESPnet's SpeechLM", speechlm.read_speechlm),
    Format("gigaspeech", "GigaSpeech.json", espnet.read_gigaspeech),
    Format(
        "webdataset",
        "tar shards",
        webdataset.read_shards,
        webdataset.write_shard,
        (".tar",),
    ),
    Format(
        "hf-folder",
        "an AudioFolder of Hugging Face",
        folders.read_hf_folder,
        folders.write_hf_folder,
    ),
    Format("hf-saved", "a folder saved by datasets", saved.read_saved),
    Format("librispeech", "folders of LibriSpeech", folders.read_librispeech),
    Format("ljspeech", "metadata.csv and wavs/ of LJSpeech", folders.read_ljspeech),
    Format(
        "common-voice", "TSVs and clips/ of Common Voice", folders.read_common_voice, root=_clips
    ),
    Format("fleurs", "TSVs and audio/ of FLEURS", folders.read_fleurs),
    Format("folder", "recordings, each with a .txt beside", folders.read_folder),
]
FORMATS.update({one.name: one for one in _ALL})

"""Rows in all the forms that data sets give: each makes the batch that its file makes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from collating import RATE, array, chat_row, collator_of, family, one_thread, samples

import ossicle
from ossicle.collator import CollatorError, RowError, SampleRateMismatchError
from ossicle.errors import AudioError, CorruptAudioError, DecodeError, NonFiniteSampleError
from ossicle.experiment.tiny import AUDIO
from ossicle.experiment.tiny_families import CHATML, CHATML_MARKED

__all__ = ["one_thread"]

NAME = "Qwen2Audio"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples(12_345), RATE, subtype="FLOAT")
    return path


def assert_same(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(got[key], value), key


def _shard(file: Path) -> ossicle.Shard:
    path = file.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        tar.add(file, "utt.wav")
    return ossicle.Shard(path)


class Decoder:
    """As torchcodec's: the column of `datasets` from version 4 on."""

    def __init__(self, file: Path, *, encoded: bool) -> None:
        if encoded:
            self._hf_encoded = {"path": str(file), "bytes": None}

    def get_all_samples(self) -> Any:
        assert not hasattr(self, "_hf_encoded"), "the file itself is better"
        return SimpleNamespace(data=torch.from_numpy(samples(12_345))[None], sample_rate=RATE)


FORMS: dict[str, Callable[[Path], Any]] = {
    "path": str,
    "path object": Path,
    "bytes": lambda file: file.read_bytes(),
    "bytearray": lambda file: bytearray(file.read_bytes()),
    "memoryview": lambda file: memoryview(file.read_bytes()),
    "array of bytes": lambda file: np.frombuffer(file.read_bytes(), np.uint8),
    "file object": lambda file: io.BytesIO(file.read_bytes()),
    "datasets, bytes": lambda file: {"path": "gone.wav", "bytes": file.read_bytes()},
    "datasets, path": lambda file: {"path": str(file), "bytes": None},
    "datasets, array": lambda file: {"path": str(file), **array(12_345)},
    "datasets, list": lambda file: {"array": samples(12_345).tolist(), "sampling_rate": RATE},
    "datasets, planes": lambda file: {
        "array": np.stack([samples(12_345)] * 2),
        "sampling_rate": RATE,
    },
    "decoder": lambda file: Decoder(file, encoded=False),
    "decoder of a file": lambda file: Decoder(file, encoded=True),
    "shard": lambda file: _shard(file).member("utt"),
    "list of one": lambda file: [str(file)],
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_what_the_path_gives(file: Path, form: str) -> None:
    processor, _ = family(NAME)
    collator = collator_of(processor)
    wanted = collator([{"audio_path": str(file), "text": f"{AUDIO} one"}])
    assert_same(collator([{"audio": FORMS[form](file), "text": f"{AUDIO} one"}]), wanted)


def test_several_recordings_keep_their_order(file: Path) -> None:
    processor, _ = family(NAME)
    collator = collator_of(processor)
    other = file.with_name("other.wav")
    soundfile.write(other, samples(5_000, 1), RATE, subtype="FLOAT")
    mixed = [array(9_000, 2), file.read_bytes(), str(other)]
    rows = [
        {"audio_path": [str(file), other], "text": f"{AUDIO} one {AUDIO} two"},
        {"audio": mixed, "text": f"{AUDIO * 3} three"},
    ]
    batch = collator(rows)
    sources = [str(file), other, *mixed]
    alone = [
        collator([{"audio": each, "text": f"{AUDIO} one"}])["input_features"] for each in sources
    ]
    assert torch.equal(batch["input_features"], torch.cat(alone))


def test_a_batch_may_mix_forms(file: Path) -> None:
    processor, _ = family(NAME, CHATML)
    collator = collator_of(processor)
    rows = [{"audio_path": str(file), "text": f"{AUDIO} one"}, chat_row("one", "two")]
    batch = collator(rows)
    for number, row in enumerate(rows):
        own = collator([row])["input_ids"][0]
        length = int(batch["attention_mask"][number].sum())
        assert torch.equal(batch["input_ids"][number, :length], own)


@pytest.mark.parametrize("template", [CHATML, CHATML_MARKED])
def test_messages_are_what_the_processor_makes_of_them(template: str) -> None:
    processor, _ = family(NAME, template)
    row = chat_row("one", "two", "three", "four", audios=2)
    filled = [{**message, "name": None} for message in row["messages"]]
    got = collator_of(processor)([{**row, "messages": filled}])
    audio = iter(one["array"] for one in row["audio"])
    content = [
        {**part, "audio": next(audio)} if part["type"] == "audio" else part
        for part in row["messages"][0]["content"]
    ]
    messages = [{"role": "user", "content": content}, *row["messages"][1:]]
    wanted = processor.apply_chat_template(
        [messages], tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert_same({key: got[key] for key in wanted}, dict(wanted))


def test_messages_may_hold_the_recordings(file: Path) -> None:
    processor, _ = family(NAME, CHATML)
    parts = [{"type": "audio", "path": str(file)}, "one"]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "two"}]
    apart = [{"role": "user", "content": [{"type": "audio"}, "one"]}, messages[1]]
    collator = collator_of(processor)
    wanted = collator([{"audio_path": str(file), "messages": apart}])
    assert_same(collator([{"messages": messages}]), wanted)


def test_a_beginning_that_template_and_tokenizer_both_write_is_there_once() -> None:
    from tokenizers.processors import TemplateProcessing

    from ossicle.experiment.tiny_families import tiny_family

    processor, _ = tiny_family("AudioFlamingo3", chat="{{ bos_token }} " + CHATML)
    tokenizer = processor.tokenizer
    tokenizer.add_special_tokens({"bos_token": "<|im_start|>"})
    begin = ("<|im_start|>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        "<|im_start|> $A", special_tokens=[begin]
    )
    batch = collator_of(processor, loss_on="response")([chat_row("one", "two")])
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    assert tokens[:3] == ["<|im_start|>", "<|im_start|>", "user"]
    labels = batch["labels"][0]
    assert tokenizer.convert_ids_to_tokens(labels[labels != -100]) == ["two", "<|im_end|>"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"audio": 7, "text": AUDIO}, "row 0 .*audio cannot be a int"),
        ({"audio": [], "text": AUDIO}, r"1 times; the row has no audio_path \(its keys"),
        ({"audio": {"path": None, "bytes": None}, "text": AUDIO}, "no bytes, no path"),
        ({"audio": {"array": [0.0]}, "text": AUDIO}, "array with sampling_rate"),
        ({"audio_path": b"RIFF", "text": AUDIO}, "audio_path cannot be a bytes"),
        (
            {"audio": [array(999)] * 2, "audio_blob_sha": ["0" * 64], "text": AUDIO},
            "audio_blob_sha has 1",
        ),
        ({"audio": array(999), "messages": "one"}, "not a list of messages"),
        ({"audio": array(999), "messages": []}, "not a list of messages"),
        ({"audio": array(999), "messages": [{"content": "one"}]}, "no role"),
        ({"audio": array(999), "messages": [{"role": "user", "content": [{}]}]}, "no type"),
        ({"audio": array(999), "messages": [{"role": "system", "content": "one"}]}, "0 times"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "1 places .* 0 rec"),
    ],
)
def test_rows_that_cannot_be_used_are_named(row: dict[str, Any], message: str) -> None:
    processor, _ = family(NAME, CHATML)
    with pytest.raises(RowError, match=message) as caught:
        collator_of(processor)([row])
    assert caught.value.row == 0
    assert isinstance(caught.value, CollatorError)


def test_messages_need_a_template() -> None:
    processor, _ = family("AudioFlamingo3")
    with pytest.raises(RowError, match="no chat template"):
        collator_of(processor)([chat_row("one", "two")])


@pytest.mark.parametrize(
    ("audio", "kind"),
    [
        ({"array": np.array([0.0, np.nan] * 999), "sampling_rate": RATE}, NonFiniteSampleError),
        ({"array": np.zeros(999, np.int64), "sampling_rate": RATE}, DecodeError),
        ({"array": np.zeros((2, 3, 999)), "sampling_rate": RATE}, DecodeError),
        ({"array": np.zeros(0), "sampling_rate": RATE}, AudioError),
        (array(999, rate=8_000), SampleRateMismatchError),
        (b"no sound", AudioError),
        (b"", CorruptAudioError),
    ],
)
def test_recordings_that_cannot_be_used_keep_their_errors(audio: Any, kind: type) -> None:
    processor, _ = family(NAME)
    with pytest.raises(kind, match=r"<(array|bytes)>") as caught:
        collator_of(processor)([{"audio": audio, "text": AUDIO}])
    assert caught.value.__notes__ == ["in row 0 of the batch"]


def test_arrays_are_resampled_and_cut_like_files(tmp_path: Path) -> None:
    processor, _ = family(NAME)
    collator = collator_of(processor, auto_resample=True, max_length_seconds=0.75)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples(48_000, rate=48_000), 48_000, subtype="FLOAT")
    wanted = collator([{"audio_path": str(path), "text": f"{AUDIO} one"}])
    got = collator([{"audio": array(48_000, rate=48_000), "text": f"{AUDIO} one"}])
    assert got.keys() == wanted.keys()
    assert torch.equal(got["feature_attention_mask"], wanted["feature_attention_mask"])
    difference = (got["input_features"] - wanted["input_features"])[:, :, :72].abs()
    assert difference.max() < 1e-3

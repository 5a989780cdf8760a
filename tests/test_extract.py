"""Features in shards, against what went in."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ossicle import ShardWriter
from ossicle.errors import CorruptAudioError, InvalidArgumentError
from ossicle.extract import FeatureShards, FingerprintError
from ossicle.shard.encoder_features import bf16_array, bf16_tensor

LENGTHS = (7, 1, 30, 0, 12)


def write(path: Path, clips: list[torch.Tensor], fingerprint: str = "ab") -> Path:
    with ShardWriter(path) as writer:
        for row, frames in enumerate(clips):
            facts = {"text": f"t{row}é", "seconds": len(frames) / 50, "fingerprint": fingerprint}
            writer.write(
                {"__key__": f"{path.stem}-{row}", "bf16.npy": bf16_array(frames), "json": facts}
            )
    return path


@pytest.fixture
def clips() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(length, 6) for length in LENGTHS]


def test_bfloat16_crosses_numpy_bit_for_bit() -> None:
    every = np.arange(2**16, dtype=np.uint16)
    assert np.array_equal(bf16_array(bf16_tensor(every.copy())), every)
    x = torch.randn(1000)
    assert torch.equal(bf16_tensor(bf16_array(x)), x.bfloat16())


def test_clips_come_back_in_the_order_of_the_shards(
    clips: list[torch.Tensor], tmp_path: Path
) -> None:
    paths = [write(tmp_path / f"{name}.tar", clips) for name in ("b", "a")]
    for shards in (FeatureShards(paths), pickle.loads(pickle.dumps(FeatureShards(paths)))):
        assert len(shards) == 10
        assert shards.keys() == [f"{name}-{row}" for name in "ba" for row in range(5)]
        assert (shards.fingerprint, shards.dim, shards.layers) == ("ab", 6, None)
        assert shards.lengths().tolist() == [*LENGTHS, *LENGTHS]
        for index in range(-10, 10):
            clip = shards[index]
            expected = clips[index % 5]
            assert torch.equal(clip.frames, expected.bfloat16())
            assert (clip.text, clip.seconds) == (f"t{index % 5}é", len(expected) / 50)
    assert FeatureShards(str(tmp_path / "*.tar"))[0].key == "a-0"
    assert FeatureShards(paths[0], dtype=torch.float32)[0].frames.dtype == torch.float32
    with pytest.raises(IndexError):
        FeatureShards(paths)[10]


def test_a_batch_is_padded_with_zeros(clips: list[torch.Tensor], tmp_path: Path) -> None:
    shards = FeatureShards(write(tmp_path / "a.tar", clips))
    frames, lengths = shards.batch([4, 1, 4, 0])
    assert (frames.shape, frames.dtype) == ((4, 12, 6), torch.bfloat16)
    assert (lengths.tolist(), lengths.dtype) == ([12, 1, 12, 7], torch.int64)
    for row, number in enumerate([4, 1, 4, 0]):
        assert torch.equal(frames[row, : lengths[row]], clips[number].bfloat16())
        assert not frames[row, lengths[row] :].any()


def test_layers_are_an_axis_before_time(tmp_path: Path) -> None:
    clips = [torch.randn(3, length, 6) for length in (4, 9)]
    shards = FeatureShards(write(tmp_path / "a.tar", clips))
    assert shards.layers == 3
    assert shards.lengths().tolist() == [4, 9]
    frames, lengths = shards.batch([0, 1])
    assert frames.shape == (2, 3, 9, 6)
    assert lengths.tolist() == [4, 9]
    assert torch.equal(frames[0, :, :4], clips[0].bfloat16())
    assert not frames[0, :, 4:].any()


def test_features_of_another_encoder_are_refused(clips: list[torch.Tensor], tmp_path: Path) -> None:
    one, other = write(tmp_path / "1.tar", clips), write(tmp_path / "2.tar", clips, "cd")
    assert len(FeatureShards(one, "ab")) == 5
    asked: list[tuple[list[Path], str | None, str, str]] = [
        ([one], "ef", "ab", "ef"),
        ([one, other], None, "cd", "ab"),
        ([other, one], "ab", "cd", "ab"),
    ]
    for paths, fingerprint, found, expected in asked:
        with pytest.raises(FingerprintError, match=f"encoder {found}, not by {expected}") as caught:
            FeatureShards(paths, fingerprint)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.found, again.expected) == (found, expected)
        assert str(again) == str(caught.value)


def test_shards_without_features_are_refused(clips: list[torch.Tensor], tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "no.tar") as writer:
        writer.write({"__key__": "a", "wav": b"1"})
    with pytest.raises(InvalidArgumentError, match="'a' has no json but wav"):
        FeatureShards(tmp_path / "no.tar")
    with pytest.raises(InvalidArgumentError, match="no shards"):
        FeatureShards(str(tmp_path / "absent-*.tar"))
    facts = {"text": "", "seconds": 1, "fingerprint": "ab"}
    for name, array in (("cut", b"\x93NUMPY"), ("kind", np.zeros((2, 3), np.float32))):
        with ShardWriter(tmp_path / f"{name}.tar") as writer:
            writer.write({"__key__": "a", "bf16.npy": array, "json": facts})
        with pytest.raises(CorruptAudioError, match=r"a\.bf16\.npy"):
            FeatureShards(tmp_path / f"{name}.tar")
    with ShardWriter(tmp_path / "text.tar") as writer:
        writer.write({"__key__": "a", "bf16.npy": b"", "json": {"text": "x"}})
    with pytest.raises(CorruptAudioError, match=r"a\.json"):
        FeatureShards(tmp_path / "text.tar")

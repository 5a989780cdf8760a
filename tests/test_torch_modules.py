"""`ossicle.torch`: the modules give what the functions give, to the bit."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch

import ossicle


@pytest.mark.parametrize("rates", [(44_100, 16_000), (16_000, 48_000), (8_000, 8_000)])
@pytest.mark.parametrize("shape", [(1_000,), (2, 1_001), (3, 2, 997), (70, 5), (0, 44), (2, 0)])
def test_resample(rates: tuple[int, int], shape: tuple[int, ...]) -> None:
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5
    module = ossicle.torch.Resample(*rates)
    found = module(noise)
    rows = noise.reshape(-1, shape[-1]).numpy() if noise.numel() else []
    assert found.shape == (*shape[:-1], -(-shape[-1] * rates[1] // rates[0]))
    for row, one in zip(rows, found.reshape(-1, found.shape[-1]) if len(rows) else [], strict=True):
        assert np.array_equal(ossicle.resample(row, *rates), one.numpy())


@pytest.mark.parametrize("pad", [30.0, 1.0, None])
@pytest.mark.parametrize("shape", [(16_000,), (3, 8_123), (2, 2, 4_000)])
def test_log_mel(pad: float | None, shape: tuple[int, ...]) -> None:
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5
    found = ossicle.torch.LogMel(128, pad_to_seconds=pad)(noise)
    assert found.shape[:-1] == (*shape[:-1], 128)
    for row, one in zip(
        noise.reshape(-1, shape[-1]), found.reshape(-1, *found.shape[-2:]), strict=True
    ):
        expected = ossicle.log_mel_spectrogram(row.numpy(), n_mels=128, pad_to_seconds=pad)
        assert np.array_equal(one.numpy(), expected)


def test_lengths_are_those_of_clips() -> None:
    noise = torch.rand(2, 8_000)
    lengths = torch.tensor([8_000, 3_000])
    found = ossicle.torch.LogMel(pad_to_seconds=None)(noise, lengths)
    expected = ossicle.log_mel_batch(noise.numpy(), lengths.tolist(), pad_to_seconds=None)
    assert np.array_equal(found.numpy(), expected)
    with pytest.raises(ossicle.InvalidArgumentError, match="clip 1 has 8000 samples"):
        ossicle.torch.LogMel()(noise, torch.tensor([1, 8_001]))


def test_types_and_devices() -> None:
    whole = torch.randint(-32_768, 32_767, (1_000,), dtype=torch.int16)
    module = ossicle.torch.Resample(16_000, 8_000)
    assert np.array_equal(module(whole), ossicle.resample(whole.numpy(), 16_000, 8_000))
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        found = module(torch.rand(1_000).to(dtype))
        assert found.dtype == dtype
    with pytest.raises(ossicle.InvalidArgumentError, match="int64"):
        module(torch.zeros(10, dtype=torch.int64))
    with pytest.raises(ossicle.InvalidArgumentError, match="at least one axis"):
        module(torch.tensor(0.5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_device_of_the_input_is_kept() -> None:
    noise = torch.rand(2, 1_000)
    for module in (ossicle.torch.Resample(16_000, 8_000), ossicle.torch.LogMel()):
        found = module(noise.cuda())
        assert found.device.type == "cuda"
        assert torch.equal(found.cpu(), module(noise))


def test_no_gradient_is_lost_silently() -> None:
    noise = torch.rand(1_000, requires_grad=True)
    module = ossicle.torch.Resample(16_000, 8_000)
    with pytest.raises(ossicle.InvalidArgumentError, match="wants a gradient"):
        module(noise)
    with torch.no_grad():
        assert module(noise).shape == (500,)


def test_pickles_in_a_sequence_and_checks() -> None:
    modules = torch.nn.Sequential(
        ossicle.torch.Resample(8_000, 16_000, quality="best"), ossicle.torch.LogMel(40)
    )
    noise = torch.rand(3, 800)
    again = pickle.loads(pickle.dumps(modules))
    assert torch.equal(again(noise), modules(noise))
    file = io.BytesIO()
    torch.save(modules, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(noise), modules(noise))
    assert not modules.state_dict()
    assert "8000 -> 16000 Hz, quality='best'" in repr(modules)
    with pytest.raises(ossicle.InvalidArgumentError, match="n_mels"):
        ossicle.torch.LogMel(0)
    with pytest.raises(ossicle.InvalidArgumentError, match="orig_rate"):
        ossicle.torch.Resample(0, 1)

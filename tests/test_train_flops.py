"""The arithmetic of a step against what PyTorch counts, and what the figures make of it."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ossicle.model import GPT, GPTConfig, Projector, WhisperEncoder
from ossicle.train.flops import PEAK_FLOPS, StepFlops, peak_flops
from ossicle.train.meter import StepCounts, bottleneck, figures
from ossicle.train.modules import SpeechModel


def counted(run) -> float:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("layer", ["last", "all", 1])
@pytest.mark.parametrize("frames", [7, 240])
def test_the_encoder_computes_what_is_said(layer: str | int, frames: int) -> None:
    encoder = WhisperEncoder("tiny-random", layer=layer)
    flops = StepFlops(encoder, Projector(64, 64), GPT(GPTConfig(64, 64, 1, 1, 1, 64, "L")))
    features = torch.zeros(1, 80, 2 * frames)
    assert flops.encode(frames) == pytest.approx(counted(lambda: encoder(features)), rel=1e-6)


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("stack", [1, 3])
def test_a_step_computes_what_is_said(is_frozen: bool, stack: int) -> None:
    gpt = GPT(GPTConfig(64, 256, 3, 2, 2, 64, "L"))
    gpt.requires_grad_(not is_frozen)
    projector = Projector(64, 64, 32, stack=stack)
    torch.nn.init.normal_(projector.fc2.weight)
    soft, text = 50, 20
    frames = torch.randn(1, soft * stack, 64)
    idx = torch.zeros(1, text, dtype=torch.int64)
    model = SpeechModel(projector, gpt)
    found = counted(lambda: model(frames, None, idx, idx).backward())
    flops = StepFlops(WhisperEncoder("tiny-random"), projector, gpt)
    expected = flops.train(soft, text)
    # PyTorch's plain attention computes all pairs, the formula what the causal mask leaves.
    positions, width = soft + text, 64
    every = 3 * 3 * 4 * width * positions * positions
    seen = 3 * 3 * 4 * width * positions * (positions + 1) / 2
    # And the gates, of smear and value embeddings, which are too small to be counted.
    assert expected + every - seen == pytest.approx(found, rel=0.02)


def test_windows_and_frozen_models_cost_less() -> None:
    encoder, projector = WhisperEncoder("tiny-random"), Projector(64, 64)
    long, short = (GPT(GPTConfig(512, 256, 4, 2, 2, 64, p)) for p in ("L", "SSSL"))
    cost = [StepFlops(encoder, projector, gpt).train(600, 40) for gpt in (long, short)]
    assert cost[1] < cost[0]
    long.requires_grad_(False)
    assert StepFlops(encoder, projector, long).train(600, 40) < cost[0]


def test_the_peak_is_the_devices_or_what_is_given() -> None:
    cpu = torch.device("cpu")
    assert peak_flops(cpu, None) is None
    assert peak_flops(cpu, 5.0) == 5.0
    assert PEAK_FLOPS["H200"] == PEAK_FLOPS["H100"] == 989e12


def test_figures_are_shares_and_rates_over_all_processes() -> None:
    # Two processes, three steps each of 2 s, summed.
    counts = StepCounts(
        steps=6,
        seconds=12.0,
        wait=3.0,
        encode=6.0,
        clips=8,
        audio_seconds=60.0,
        text_tokens=100,
        soft_tokens=500,
        positions=800,
        encoded=90,
        encoder_positions=100,
        flops=24e12,
    )
    found = figures(counts, 2, 4e12)
    assert found == {
        "step_ms": 2000.0,
        "audio_seconds_per_second": 10.0,
        "tokens_per_second": 100.0,
        "data_wait": 0.25,
        "encode": 0.5,
        "padding": 0.25,
        "encoder_padding": pytest.approx(0.1),
        "tflops": 2.0,
        "mfu": 0.5,
    }
    assert "mfu" not in figures(counts, 2, None)
    assert bottleneck(found).startswith("data: 25%")
    assert bottleneck(found | {"data_wait": 0.01}).startswith("encoder: 50%")
    calm = found | {"data_wait": 0.01, "encode": 0.1}
    assert bottleneck(calm).startswith("padding: 25%")
    assert bottleneck(calm | {"padding": 0.1}).startswith("compute")
    assert figures(StepCounts(), 1, None)["tokens_per_second"] == 0

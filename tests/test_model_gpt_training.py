"""A GPT as training runs it: compiled in one graph, with recomputed activations, in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from naive_gpt import randomised
from torch import Tensor

from ossicle.model import GPT, GPTConfig

CONFIG = GPTConfig(10, 64, 2, 4, 2, 32, "SL")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def batch(text: int = 6, heard: int = 9) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(text)
    ids = torch.randint(0, 64, (3, text + 1), generator=generator)
    audio = torch.randn(3, heard, CONFIG.n_embd, generator=generator)
    return {
        "idx": ids[:, :-1],
        "targets": ids[:, 1:],
        "audio_features": audio.requires_grad_(True),
        "audio_lengths": torch.tensor([heard, 0, heard // 2]),
    }


def gradients(model: Any, given: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    loss = model(**given)
    loss.backward()
    found = {name.removeprefix("_orig_mod."): p.grad for name, p in model.named_parameters()}
    return loss.detach(), {**found, "audio": given["audio_features"].grad}


def assert_same(one: Any, other: Any, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(one[0], other[0], rtol=tolerance, atol=tolerance)
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=1e-4, atol=tolerance)


@pytest.mark.thorough
@pytest.mark.parametrize("recomputed", [False, True])
def test_it_compiles_into_one_graph_with_equal_gradients(recomputed: bool) -> None:
    """``fullgraph`` makes any break an error; the backend runs what was captured as it is."""
    torch._dynamo.reset()
    plain = randomised(CONFIG)
    model = randomised(CONFIG)
    model.gradient_checkpointing = recomputed
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_same(gradients(compiled, batch()), gradients(plain, batch()), 2e-5)
    without_audio = {"idx": batch()["idx"]}
    with torch.no_grad():
        torch.testing.assert_close(compiled(**without_audio), plain(**without_audio))
    torch._dynamo.reset()


@pytest.mark.thorough
def test_other_lengths_do_not_compile_anew_each_time() -> None:
    """Twice in all: for the first sizes, then with sizes left open."""
    torch._dynamo.reset()
    counts = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(randomised(CONFIG), backend=counts, fullgraph=True)
    for text, heard in ((4, 9), (5, 14), (6, 13), (11, 12)):
        compiled(**batch(text, heard))
    assert counts.frame_count == 2
    torch._dynamo.reset()


def test_recomputed_activations_give_equal_gradients_and_are_not_kept() -> None:
    plain, thrifty = randomised(CONFIG), randomised(CONFIG)
    thrifty.gradient_checkpointing = True
    expected = gradients(plain, batch())
    assert_same(gradients(thrifty, batch()), expected, 0.0)
    assert kept_bytes(thrifty) < 0.5 * kept_bytes(plain)
    with torch.no_grad():
        assert torch.equal(thrifty(batch()["idx"]), plain(batch()["idx"]))


def kept_bytes(model: GPT) -> int:
    """What the forward pass of a longer sequence saves for the backward pass."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(torch.zeros(2, 90, dtype=torch.int64), torch.zeros(2, 90, dtype=torch.int64))
    held = sum(sizes.values())
    del loss
    return held


def test_bfloat16_trains_float32_master_weights() -> None:
    model = GPT(CONFIG, compute_dtype=torch.bfloat16)
    model.load_state_dict(randomised(CONFIG).state_dict())
    loss, found = gradients(model, batch())
    exact, expected = gradients(randomised(CONFIG), batch())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0.05)
    tables = {name for name in found if "wte" in name or "value_embeds" in name}
    for name, gradient in found.items():
        assert gradient.dtype == (torch.bfloat16 if name in tables else torch.float32)
        pair = torch.stack([gradient.float().flatten(), expected[name].flatten()])
        if pair.shape[1] > 24:
            assert torch.corrcoef(pair)[0, 1] > 0.9, name


@pytest.mark.parametrize("window", [128, 1000])
def test_attention_takes_the_flash_kernel_where_nothing_but_the_future_is_hidden(
    window: int,
) -> None:
    """Without windows that bite no mask is made, which the flash kernels would refuse."""
    model = GPT(GPTConfig(window, 64, 2, 2, 2, 64, "L"))
    idx = torch.zeros(1, 200, dtype=torch.int64)
    with torch.profiler.profile() as profile, torch.no_grad():
        model(idx)
    sdpa = [e for e in profile.events() if e.name == "aten::scaled_dot_product_attention"]
    names = {e.name for e in profile.events()}
    assert len(sdpa) == 2
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in names
    made = "aten::bitwise_and" in names
    assert made == (window < 199)

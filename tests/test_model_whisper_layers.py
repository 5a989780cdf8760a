"""Which hidden states the encoder gives, and that its weights are in no checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder as TheirEncoder

from ossicle.model import Projector, WhisperEncoder
from ossicle.model.whisper_layers import has_varlen_kernel

LAST = 2  # tiny-random has two layers


def encoder(layer: object) -> WhisperEncoder:
    return WhisperEncoder("tiny-random", layer=layer)  # type: ignore[arg-type]


ALL = encoder("all")


def test_every_layer_is_that_of_hugging_face() -> None:
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = ALL.encoder(features, output_hidden_states=True).hidden_states
    assert len(expected) == ALL.layers == LAST + 1
    every = ALL(features)
    assert every.shape == (2, LAST + 1, 1500, 64)
    for layer, states in enumerate(expected):
        torch.testing.assert_close(every[:, layer], states, rtol=0, atol=1e-5)
        one = encoder(layer)
        assert one.layers is None
        torch.testing.assert_close(one(features), states, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [[31, 7, 0, 60], [60, 60, 60, 60], [0, 0, 0, 0], None])
@pytest.mark.parametrize("layer", [0, 1, "last", "all"])
def test_a_layer_of_a_clip_is_in_a_batch_what_it_is_alone(
    layer: object, lengths: list[int]
) -> None:
    ours = encoder(layer)
    features = torch.randn(4, 80, 60, generator=torch.Generator().manual_seed(1))
    batch = ours(features, None if lengths is None else torch.tensor(lengths))
    assert batch.shape == (4, *([3] if layer == "all" else []), 30, 64)
    for row, length in enumerate(lengths or [60] * 4):
        count = (length + 1) // 2
        assert not batch[row, ..., count:, :].any()
        if count:
            alone = ours(features[row : row + 1, :, :length])[0]
            torch.testing.assert_close(batch[row, ..., :count, :], alone, rtol=0, atol=1e-5)
    assert ours(features[:, :, :0]).shape == (*batch.shape[:-2], 0, 64)


def test_packed_padded_and_compiled_agree() -> None:
    ours, lengths = encoder("last"), torch.tensor([90, 17, 2])
    features = torch.randn(3, 80, 90, generator=torch.Generator().manual_seed(2))
    packed = ours(features, lengths)
    # The same graph that a compiler sees: no lengths are looked at.
    compiled = torch.compile(ours, backend="eager", fullgraph=True)(features, lengths)
    torch.testing.assert_close(packed, compiled, rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_packed_on_cuda_agrees_with_the_cpu() -> None:
    config = WhisperConfig(
        d_model=128, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=256
    )
    ours = WhisperEncoder("tiny-random")
    ours.encoder, ours.d_model = TheirEncoder(config).eval(), 128
    features, lengths = torch.randn(3, 80, 900), torch.tensor([900, 300, 41])
    expected = ours(features, lengths)
    got = ours.to("cuda", torch.bfloat16)(features, lengths)
    assert has_varlen_kernel(got.device, got.dtype)
    assert (got.cpu().float() - expected).abs().mean() < 0.03


@pytest.mark.parametrize("layer", [-1, LAST + 1, "first", True, 1.0])
def test_a_layer_that_is_not_there_is_refused(layer: object) -> None:
    with pytest.raises(ValueError, match="0 to 2"):
        encoder(layer)


def test_the_fingerprint_tells_layers_apart() -> None:
    found = {layer: encoder(layer).fingerprint for layer in (0, 1, LAST, "last", "all")}
    assert found[LAST] == found["last"]
    assert len(set(found.values())) == 4


def test_it_is_in_no_checkpoint() -> None:
    """A module that holds an encoder saves what learns, and takes it back strictly."""
    model = torch.nn.ModuleDict({"ear": encoder("last"), "bridge": Projector(64, 32)})
    saved = model.state_dict()
    assert set(saved) == {"bridge.fc1.weight", "bridge.fc2.weight"}
    assert not encoder("last").state_dict()
    before = {name: weight.clone() for name, weight in model["ear"].encoder.state_dict().items()}
    other = torch.nn.ModuleDict({"ear": encoder("last"), "bridge": Projector(64, 32)})
    assert str(other.load_state_dict(saved)) == "<All keys matched successfully>"
    assert torch.equal(other["bridge"].fc1.weight, model["bridge"].fc1.weight)
    # Nor does one that has an encoder's weights change it.
    strange = {f"ear.encoder.{name}": weight + 1 for name, weight in before.items()}
    other.load_state_dict(saved | strange)
    after = other["ear"].encoder.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_it_is_in_no_optimizer_and_gets_no_gradient() -> None:
    model = torch.nn.ModuleDict({"ear": encoder("all"), "bridge": Projector(64, 32, layers=3)})
    torch.nn.init.normal_(model["bridge"].fc2.weight)
    learning = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert learning == ["bridge.layer_logits", "bridge.fc1.weight", "bridge.fc2.weight"]
    before = model["ear"].fingerprint
    model.requires_grad_(True)  # a careless trainer
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
    model["bridge"](model["ear"](torch.randn(1, 80, 20))).square().sum().backward()
    optimizer.step()
    assert model["ear"].fingerprint == before
    assert model["bridge"].layer_logits.grad.abs().sum() > 0


def test_half_precision_of_all_layers() -> None:
    half = WhisperEncoder("tiny-random", dtype=torch.bfloat16, layer="all")
    features = np.random.default_rng(0).normal(size=(2, 80, 40)).astype(np.float32)
    out = half(torch.from_numpy(features), torch.tensor([40, 9]))
    assert (out.dtype, out.shape) == (torch.bfloat16, (2, 3, 20, 64))
    expected = ALL(torch.from_numpy(features), torch.tensor([40, 9]))
    assert (out.float() - expected).abs().mean() < 0.03

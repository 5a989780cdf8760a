"""How a projector's start meets a language model that knows its texts: docs/encoder.md.

    python benches/projector_start.py [--steps 300] [--record]

The model learns sentences of 4 out of 12 words first, from bytes, without audio. Then clips come:
each word is 8 frames of a vector of its own under noise. AdamW at 3e-3 and clipping at 1, as in the
smoke; the projector alone learns, or the model too.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import harness

harness.one_thread()

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402, N812

from ossicle.model import GPT, ByteTokenizer, GPTConfig, Projector  # noqa: E402

WORDS = "red green blue black white one two three four small large round".split()  # noqa: SIM905
FRAMES, CHANNELS, BATCH = 8, 64, 16  # frames of a word
LR, CLIP = 3e-3, 1.0
SHOWN = (0, 1, 2, 5, 20, 100)  # steps after which figures are taken


class Clips:
    """Sentences with frames that say them."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.sounds = torch.randn(
            len(WORDS), FRAMES, CHANNELS, generator=torch.Generator().manual_seed(0)
        )

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Frames (B, T, d), tokens and next tokens (B, T_text)."""
        words = torch.randint(len(WORDS), (BATCH, 4), generator=self.generator)
        frames = self.sounds[words].flatten(1, 2)
        noise = torch.randn(frames.shape, generator=self.generator)
        ids = [ByteTokenizer().encode(" ".join(WORDS[w] for w in row)) for row in words.tolist()]
        rows = [torch.tensor(row) for row in ids]
        pad = torch.nn.utils.rnn.pad_sequence
        targets = pad([row[1:] for row in rows], batch_first=True, padding_value=-1)
        return frames + 0.5 * noise, pad([row[:-1] for row in rows], batch_first=True), targets


def language_model(steps: int) -> GPT:
    """A GPT that knows the sentences."""
    torch.manual_seed(0)
    gpt = GPT(
        GPTConfig(sequence_len=256, vocab_size=257, n_layer=4, n_head=2, n_kv_head=2, n_embd=128)
    )
    optimizer, clips = torch.optim.AdamW(gpt.parameters(), lr=LR, weight_decay=0.0), Clips(1)
    for _ in range(steps):
        _, idx, targets = clips.batch()
        _step(gpt(idx, targets), optimizer, list(gpt.parameters()))
    return gpt


def _step(loss: torch.Tensor, optimizer: Any, weights: list[torch.nn.Parameter]) -> float:
    """One step; the norm of the gradient before it was clipped."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(weights, CLIP)
    optimizer.step()
    return float(norm)


@torch.no_grad()
def figures(gpt: GPT, projector: Projector, held_out: Any) -> dict[str, float]:
    """Held-out loss, and the share of the soft tokens, as GPT norms them, that the audio makes."""
    frames, idx, targets = held_out
    tokens = projector(frames)
    normed = F.rms_norm(tokens, tokens.shape[-1:])
    heard = (normed - normed.mean((0, 1))).square().mean()
    return {
        "loss": float(gpt(idx, targets, audio_features=tokens)),
        "audio": float(heard.sqrt()),
    }


def run(model: GPT, start: str, is_frozen: bool, steps: int) -> dict[str, Any]:
    """What happens from one start."""
    gpt, clips, held_out = copy.deepcopy(model), Clips(2), Clips(3).batch()
    gpt.requires_grad_(not is_frozen)
    torch.manual_seed(1)
    projector = Projector(CHANNELS, gpt.config.n_embd, stack=4, start=start)  # type: ignore[arg-type]
    weights = [*projector.parameters(), *([] if is_frozen else gpt.parameters())]
    optimizer = torch.optim.AdamW(weights, lr=LR, betas=(0.9, 0.95), weight_decay=0.0)
    taken, gradients = {0: figures(gpt, projector, held_out)}, []
    for step in range(1, steps + 1):
        frames, idx, targets = clips.batch()
        loss = gpt(idx, targets, audio_features=projector(frames))
        gradients.append(_step(loss, optimizer, weights))
        if step in SHOWN or step == steps:
            taken[step] = figures(gpt, projector, held_out)
    return {"start": start, "frozen": is_frozen, "gradient": gradients[0], "steps": taken}


def table(none: float, runs: list[dict[str, Any]]) -> str:
    """Markdown: a row a run, loss and audio after each number of steps."""
    steps = list(runs[0]["steps"])
    head = ["start", "learns", "first gradient", *(f"step {step}" for step in steps)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for one in runs:
        cells = [f"{at['loss']:.2f} ({at['audio']:.3f})" for at in one["steps"].values()]
        learns = "projector" if one["frozen"] else "both"
        row = [one["start"], learns, f"{one['gradient']:.3g}", *cells]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, "", f"Without audio the model's loss is {none:.2f}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    model = language_model(options.steps)
    _, idx, targets = Clips(3).batch()
    with torch.no_grad():
        none = float(model(idx, targets))
    runs = [
        run(model, start, is_frozen, options.steps)
        for is_frozen in (True, False)
        for start in ("zero", "ignore")
    ]
    print(table(none, runs))
    if options.record:
        facts = {"machine": harness.machine(), "loss without audio": none, "runs": runs}
        path = Path(__file__).parent / "record" / "2026-11-21-projector-start"
        path.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
        title = f"# How a projector starts\n\n{__doc__.partition(chr(10) * 2)[2].strip()}\n\n"
        path.with_suffix(".md").write_text(f"{title}{table(none, runs)}\n")


if __name__ == "__main__":
    main()

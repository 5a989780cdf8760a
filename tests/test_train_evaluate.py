"""The control and the word errors, against plain loops and against invariants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle.model import GPT, ByteTokenizer, GPTConfig, Projector
from ossicle.train.evaluate import (
    ControlBatch,
    ControlResult,
    control,
    derangement,
    projected_loss,
    transcribe,
    word_errors,
)
from ossicle.train.feed import collate_text


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def labelled(sizes: list[int]) -> list[ControlBatch]:
    """Batches whose audio is the number of its row, and so are the targets."""
    batches, start = [], 0
    for size in sizes:
        rows = torch.arange(start, start + size)
        batches.append(ControlBatch(rows[:, None], rows[:, None], rows[:, None], rows))
        start += size
    return batches


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**31))
def test_a_derangement_is_a_permutation_that_moves_everything(count: int, seed: int) -> None:
    order = derangement(count, torch.Generator().manual_seed(seed))
    assert sorted(order.tolist()) == list(range(count))
    assert all(place != kept for place, kept in enumerate(order.tolist()))


def test_each_place_gets_each_other_equally_often() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(4, 4)
    for _ in range(3_000):
        counts[torch.arange(4), derangement(4, generator)] += 1
    assert counts.diagonal().sum() == 0
    assert torch.allclose(counts[~torch.eye(4, dtype=torch.bool)], torch.tensor(1000.0), atol=120)


def test_one_clip_cannot_be_shuffled() -> None:
    for sizes in ([1], []):
        with pytest.raises(ValueError, match=r"two clips|compute the loss"):
            control(lambda *_: torch.zeros(()), labelled(sizes))
    with pytest.raises(ValueError, match="two clips"):
        derangement(1, torch.Generator())


@settings(deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6).filter(lambda s: sum(s) > 1))
def test_nobody_keeps_their_own_audio_whatever_the_sizes(sizes: list[int]) -> None:
    seen: dict[str, list[tuple[int, int]]] = {"right": [], "shuffled": [], "none": []}

    def loss(idx, targets, audio, lengths):
        kind = ("right", "shuffled", "none")[loss.calls % 3]
        loss.calls += 1
        assert (audio is None) == (lengths is None) == (kind == "none")
        if audio is not None:
            assert torch.equal(audio[:, 0], lengths)  # lengths go with their audio
            seen[kind] += zip(idx[:, 0].tolist(), audio[:, 0].tolist(), strict=True)
        return torch.zeros(())

    loss.calls = 0
    result = control(loss, labelled(sizes))
    assert result.clips == result.tokens == sum(sizes)
    assert all(text == sound for text, sound in seen["right"])
    assert all(text != sound for text, sound in seen["shuffled"])
    # The first batch may wait for its neighbour; none is lost and none comes twice.
    assert sorted(t for t, _ in seen["shuffled"]) == list(range(sum(sizes)))


def test_the_three_losses_are_exact_over_unequal_batches() -> None:
    def loss(idx, targets, audio, lengths):
        value = torch.zeros(()) if audio is None else (audio[:, 0] != idx[:, 0]).sum()
        return 0.25 * len(idx) + value.double()

    result = control(loss, labelled([3, 1, 5, 2]))
    assert (result.right, result.shuffled, result.none) == (0.25, 1.25, 0.25)
    assert (result.gap, result.gain) == (1.0, 0.0)
    whole = [labelled([3, 4])[0], labelled([3, 4])[1]]
    parts = [control(loss, [batch]) for batch in whole]
    assert parts[0] + parts[1] == control(loss, whole)
    assert (parts[0] + parts[1]).clips == 7


def test_texts_without_graded_tokens_say_so() -> None:
    batch = labelled([2])[0]._replace(targets=torch.full((2, 1), -1))
    with pytest.raises(ValueError, match="compute the loss"):
        control(lambda *_: torch.zeros(()), [batch])


def tiny_gpt(seed: int = 0) -> GPT:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        gpt = GPT(GPTConfig(64, ByteTokenizer.vocab_size, 2, 2, 2, 32, "L"))
        with torch.no_grad():  # at the start the output projections are zero and nothing is heard
            for parameter in gpt.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return gpt.eval()


def tiny_projector(seed: int = 0) -> Projector:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        projector = Projector(8, 32, stack=2)
        torch.nn.init.normal_(projector.fc2.weight)
    return projector


TEXTS = ["one.", "a longer text", "é", "two", "three of them", "x", "last"]


def batches(sizes: list[int], *, equal_audio: bool = False) -> list[ControlBatch]:
    generator = torch.Generator().manual_seed(1)
    out, start = [], 0
    for size in sizes:
        ids = [ByteTokenizer().encode(text) for text in TEXTS[start : start + size]]
        idx, targets = collate_text(ids)
        lengths = torch.randint(1, 12, (size,), generator=generator)
        frames = torch.randn(size, 12, 8, generator=generator)
        if equal_audio:
            lengths, frames = torch.full((size,), 7), frames[:1].expand(size, -1, -1)
        out.append(ControlBatch(idx, targets, frames, lengths))
        start += size
    return out


def test_the_loss_is_that_of_each_row_alone() -> None:
    gpt, projector = tiny_gpt(), tiny_projector()
    result = control(projected_loss(gpt, projector), batches([3, 4]))
    right, none, tokens = 0.0, 0.0, 0
    for batch in batches([3, 4]):
        for idx, targets, frames, length in zip(*batch, strict=True):
            kept = int((targets >= 0).sum())
            text, after = idx[None, :kept], targets[None, :kept]
            soft = projector(frames[None, : int(length)])
            with torch.no_grad():
                logits = gpt(text, audio_features=soft)[0, soft.shape[1] :].double()
                right += -logits.log_softmax(-1)[range(kept), after[0]].sum().item()
                alone = gpt(text)[0].double()
                none += -alone.log_softmax(-1)[range(kept), after[0]].sum().item()
            tokens += kept
    assert result.tokens == tokens == sum(len(text.encode()) for text in TEXTS)
    assert result.right == pytest.approx(right / tokens, abs=1e-5)
    assert result.none == pytest.approx(none / tokens, abs=1e-5)
    assert abs(result.gap) > 1e-3


def test_a_model_that_ignores_audio_has_no_gap_at_all() -> None:
    gpt = tiny_gpt()

    def deaf(idx, targets, audio, lengths):
        return gpt(idx, targets, loss_reduction="sum")

    result = control(deaf, batches([2, 3, 1]))
    assert result.gap == 0
    assert result.gain == 0
    assert result.right > 0


def test_audio_that_is_the_same_for_all_has_no_gap() -> None:
    result = control(projected_loss(tiny_gpt(), tiny_projector()), batches([7], equal_audio=True))
    assert result.gap == 0
    assert result.gain != 0


def test_the_seed_decides_the_shuffling_and_nothing_else() -> None:
    loss = projected_loss(tiny_gpt(), tiny_projector())
    one, same, other = (control(loss, batches([7]), seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert (one.right, one.none) == (other.right, other.none)
    assert one.shuffled != other.shuffled


def test_it_leaves_no_gradients_and_the_global_random_state_alone() -> None:
    gpt, projector = tiny_gpt(), tiny_projector()
    before = torch.get_rng_state()
    control(projected_loss(gpt, projector), batches([3]))
    assert torch.equal(before, torch.get_rng_state())
    assert all(p.grad is None for p in (*gpt.parameters(), *projector.parameters()))


def test_the_json_says_all() -> None:
    result = ControlResult(10.0, 40.0, 20.0, 10, 2)
    assert result.to_json() == {
        "right": 1.0,
        "shuffled": 4.0,
        "none": 2.0,
        "gap": 3.0,
        "gain": 1.0,
        "tokens": 10,
        "clips": 2,
    }


def edits(said: list[str], heard: list[str]) -> int:
    """Levenshtein's distance, straight from its recursion."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other)),
            )
    return row[-1]


WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd", "e"]), max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS.filter(bool), WORDS), min_size=1, max_size=5))
def test_word_errors_are_edits_over_words(pairs: list[tuple[list[str], list[str]]]) -> None:
    errors = word_errors([" ".join(s) for s, _ in pairs], [" ".join(h) for _, h in pairs])
    words = sum(len(said) for said, _ in pairs)
    total = sum(edits(said, heard) for said, heard in pairs)
    assert errors.words == words
    assert errors.rate == pytest.approx(total / words)
    assert errors.insertions - errors.deletions == sum(len(h) - len(s) for s, h in pairs)


def test_word_errors_say_which_text_is_empty() -> None:
    with pytest.raises(ValueError, match="text 1 has no words"):
        word_errors(["a", " "], ["a", "b"])
    with pytest.raises(ValueError, match="1 texts were expected and 2 were transcribed"):
        word_errors(["a"], ["a", "b"])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1_000))
def test_what_is_written_is_what_each_row_gives_alone(seed: int) -> None:
    gpt, projector = tiny_gpt(seed), tiny_projector(seed)
    (batch,) = batches([4])
    together = transcribe(gpt, projector, batch.audio, batch.audio_lengths, max_new_tokens=12)
    for text, frames, length in zip(together, batch.audio, batch.audio_lengths, strict=True):
        ids = [ByteTokenizer.bos_token_id]
        soft = projector(frames[None, : int(length)])
        for _ in range(12):
            with torch.no_grad():
                logits = gpt(torch.tensor([ids]), audio_features=soft)
            ids.append(int(logits[0, -1].argmax()))
            if ids[-1] in (ord("."), ByteTokenizer.bos_token_id):
                break
        assert text == ByteTokenizer().decode(ids)


def test_the_stop_ends_a_text() -> None:
    gpt, projector = tiny_gpt(), tiny_projector()
    (batch,) = batches([3])
    heard = (batch.audio, batch.audio_lengths)
    long = transcribe(gpt, projector, *heard, max_new_tokens=20, stop="\0")
    stop = next(text[2] for text in long if text[2:3].isascii() and len(text) > 3)
    short = transcribe(gpt, projector, *heard, max_new_tokens=20, stop=stop)
    assert short == [text.split(stop)[0] + stop * (stop in text) for text in long]
    assert short != long

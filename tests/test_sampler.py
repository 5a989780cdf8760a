"""Batches under a budget: what holds for all lengths, settings, epochs, stops and processes."""

from __future__ import annotations

import json
import math
import pickle
import warnings
from collections import Counter
from collections.abc import Iterable
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, prepare_data_loader, skip_first_batches
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ossicle import DurationBatchSampler
from ossicle.errors import InvalidArgumentError
from ossicle.stream.budgets import _rows_that_fit

Batches = list[list[int]]

# Eighths add up without a rounding; many rows are equally long.
LENGTHS = st.lists(st.integers(0, 80).map(lambda eighths: eighths / 8), max_size=60)
SETTINGS = st.fixed_dictionaries(
    {
        "max_seconds": st.integers(80, 300).map(lambda eighths: eighths / 8),
        "max_batch": st.none() | st.integers(1, 12),
        "max_padding": st.sampled_from([0.0, 0.1, 0.3, 0.9]),
        "count_padding": st.booleans(),
        "shuffle": st.booleans(),
        "seed": st.integers(0, 2**70),
        "drop_last": st.booleans(),
    }
)
EPOCHS = st.integers(0, 1_000)
WORLDS = st.integers(1, 5)


def make(lengths: Any, rank: int = 0, world_size: int = 1, **settings: Any) -> DurationBatchSampler:
    settings.setdefault("max_seconds", 30.0)
    return DurationBatchSampler(lengths, rank=rank, world_size=world_size, **settings)


def epoch_of(sampler: DurationBatchSampler, epoch: int) -> Batches:
    sampler.set_epoch(epoch)
    return list(sampler)


def rows_of(batches: Iterable[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


def speech(rows: int, seed: int = 0) -> Any:
    """Lengths as of an ASR corpus: most of a few seconds, some up to 30."""
    return np.clip(np.random.default_rng(seed).gamma(2.2, 4.0, rows), 0.3, 30.0)


@given(LENGTHS, SETTINGS, EPOCHS)
def test_each_row_once_and_no_batch_above_the_budget(
    lengths: list[float], settings: dict[str, Any], epoch: int
) -> None:
    batches = epoch_of(make(lengths, **settings), epoch)
    assert sorted(rows_of(batches)) == list(range(len(lengths)))
    for batch in batches:
        costs = [lengths[row] for row in batch]
        cost = max(costs) * len(batch) if settings["count_padding"] else sum(costs)
        assert 0 < len(batch) <= (settings["max_batch"] or len(lengths))
        assert cost <= settings["max_seconds"]


@given(longest=st.floats(0, 1e3), budget=st.floats(1e-3, 1e9), most=st.integers(1, 2**40))
@example(longest=0.01098901098901099, budget=3.0, most=999)  # a quotient that is rounded up
@example(longest=0.388241349404154, budget=22.906239614845084, most=999)  # and one down
def test_as_many_rows_as_the_budget_holds(longest: float, budget: float, most: int) -> None:
    rows = _rows_that_fit(longest, budget, most)
    assert 1 <= rows <= most
    assert rows == 1 or rows * longest <= budget
    assert rows == most or (rows + 1) * longest > budget


@given(LENGTHS, SETTINGS, EPOCHS)
def test_the_batches_of_an_epoch_are_a_function_of_seed_and_epoch(
    lengths: list[float], settings: dict[str, Any], epoch: int
) -> None:
    sampler = make(lengths, **settings)
    first = epoch_of(sampler, epoch)
    epoch_of(sampler, epoch + 1)
    assert epoch_of(sampler, epoch) == first
    assert epoch_of(pickle.loads(pickle.dumps(sampler)), epoch) == first
    assert epoch_of(make(np.array(lengths), **settings), epoch) == first
    assert list(DataLoader(range(len(lengths)), batch_sampler=sampler, collate_fn=list)) == first


@given(LENGTHS, SETTINGS, EPOCHS, EPOCHS)
def test_every_epoch_has_batches_of_the_same_sizes(
    lengths: list[float], settings: dict[str, Any], one: int, other: int
) -> None:
    # Trainer counts the steps of all epochs from the first.
    sampler = make(lengths, **settings)
    sizes = [Counter(map(len, epoch_of(sampler, epoch))) for epoch in (one, other)]
    assert sizes[0] == sizes[1]
    assert sizes[0].total() == sampler.num_batches


@given(LENGTHS, SETTINGS, EPOCHS)
def test_padding_is_kept_where_rows_allow(
    lengths: list[float], settings: dict[str, Any], epoch: int
) -> None:
    settings["count_padding"] = True
    limit, budget = settings["max_padding"], settings["max_seconds"]
    most = settings["max_batch"] or len(lengths)
    for batch in epoch_of(make(lengths, **settings), epoch):
        longest, shortest = (pick(lengths[row] for row in batch) for pick in (max, min))
        if shortest >= longest * (1 - limit):
            continue
        # Then too few rows as long as that are left, and the next shorter ones fill this batch.
        similar = sum(longest * (1 - limit) <= lengths[row] for row in batch)
        assert similar < min(budget // longest, most)
        others = set(range(len(lengths))) - set(batch)
        assert not any(shortest < lengths[row] < longest for row in others)


@given(LENGTHS, SETTINGS, EPOCHS, WORLDS)
def test_processes_take_turns_at_one_order(
    lengths: list[float], settings: dict[str, Any], epoch: int, world: int
) -> None:
    order = epoch_of(make(lengths, **settings), epoch)
    samplers = [make(lengths, rank, world, **settings) for rank in range(world)]
    shares = [epoch_of(sampler, epoch) for sampler in samplers]
    rounds = len(order) // world if settings["drop_last"] else math.ceil(len(order) / world)
    assert [len(share) for share in shares] == [rounds] * world == [len(s) for s in samplers]
    dealt = [shares[rank][step] for step in range(rounds) for rank in range(world)]
    assert dealt[: len(order)] == order[: len(dealt)]
    # What is too much are the first batches again, what is missing is less than a round.
    assert dealt[len(order) :] == [order[n % len(order)] for n in range(len(dealt) - len(order))]
    assert len(order) - world < len(dealt) < len(order) + world


@given(LENGTHS, SETTINGS, EPOCHS, WORLDS)
def test_accelerate_deals_the_same(
    lengths: list[float], settings: dict[str, Any], epoch: int, world: int
) -> None:
    whole = make(lengths, **settings)
    whole.set_epoch(epoch)
    for rank in range(world):
        shard = BatchSamplerShard(whole, world, rank)
        own = make(lengths, rank, world, **settings)
        assert list(shard) == epoch_of(own, epoch)
        assert len(shard) == len(own)


@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate_passes_epochs_on(processes: int) -> None:
    loader = DataLoader(range(500), batch_sampler=make(speech(500)), collate_fn=list)
    prepared = prepare_data_loader(loader, num_processes=processes, process_index=0)
    expected = epoch_of(make(speech(500), 0, processes), 3)
    prepared.set_epoch(3)
    assert list(prepared) == expected
    if processes == 1:  # the wrapper of the other case swallows it
        skipping = skip_first_batches(prepared, 4)
        skipping.set_epoch(3)
        assert list(skipping) == expected[4:]


@given(LENGTHS, SETTINGS, EPOCHS, WORLDS, WORLDS, st.data())
def test_a_run_goes_on_where_it_stopped(
    lengths: list[float],
    settings: dict[str, Any],
    epoch: int,
    world: int,
    other: int,
    data: st.DataObject,
) -> None:
    assume(lengths)
    order = epoch_of(make(lengths, **settings), epoch)
    rounds = len(epoch_of(make(lengths, 0, world, **settings), epoch))
    assume(rounds)
    stop = data.draw(st.integers(0, rounds - 1))
    seen, states = [], []
    for rank in range(world):
        sampler = make(lengths, rank, world, **settings)
        sampler.set_epoch(epoch)
        batches = iter(sampler)
        seen.append([next(batches) for _ in range(stop)])
        states.append(json.loads(json.dumps(sampler.state_dict())))
        assert sampler.state_dict(batches=stop) == states[0]
    assert all(state == states[0] for state in states)
    # With the same number of processes the rest is what an uninterrupted run gives, with any other
    # the rest of the order, dealt anew.
    for count in (world, other):
        rest = []
        for rank in range(count):
            sampler = make(lengths, rank, count, **settings)
            sampler.load_state_dict(states[0])
            sampler.set_epoch(epoch)  # as loops do; it keeps the place
            promised = len(sampler)
            rest.append(list(sampler))
            assert len(rest[-1]) == promised
            if count == world:
                whole = epoch_of(make(lengths, rank, world, **settings), epoch)
                assert seen[rank] + rest[rank] == whole
            # Behind the rest come whole epochs.
            assert epoch_of(sampler, epoch + 1) == epoch_of(
                make(lengths, rank, count, **settings), epoch + 1
            )
        left = order[stop * world :]
        dealt = [batch for step in zip(*rest, strict=True) for batch in step]
        assert dealt[: len(left)] == left[: len(dealt)]
        assert abs(len(dealt) - len(left)) < count


@given(LENGTHS, SETTINGS, WORLDS)
def test_every_stop_of_a_chain_of_stops(
    lengths: list[float], settings: dict[str, Any], world: int
) -> None:
    # A run that is stopped behind each batch gives in the end what one run gives.
    whole = list(make(lengths, 0, world, **settings))
    state = make(lengths, 0, world, **settings).state_dict()
    for step, expected in enumerate(whole):
        sampler = make(lengths, 0, world, **settings)
        sampler.load_state_dict(state)
        assert len(sampler) == len(whole) - step
        assert next(iter(sampler)) == expected
        state = sampler.state_dict()


def test_behind_the_rest_of_an_epoch_it_begins_anew() -> None:
    sampler = make(speech(500))
    whole = list(sampler)
    sampler.load_state_dict(sampler.state_dict(batches=3))
    assert list(sampler) == whole[3:]
    assert len(sampler) == len(whole)
    assert list(sampler) == whole
    assert sampler.state_dict(batches=1)["batches_done"] == 1


def test_a_state_behind_the_last_batch_gives_nothing_more() -> None:
    for world in (1, 2):
        sampler = make(speech(500), 0, world, drop_last=True)
        list(sampler)
        resumed = make(speech(500), 0, 1)
        resumed.load_state_dict(sampler.state_dict())
        assert len(resumed) == 0
        assert list(resumed) == []


def test_handed_out_ahead_of_training() -> None:
    sampler = make(speech(500))
    expected = list(sampler)
    loader = DataLoader(range(500), batch_sampler=sampler, num_workers=2, collate_fn=list)
    batches = iter(loader)
    trained = [next(batches) for _ in range(3)]
    assert sampler.state_dict()["batches_done"] > 3
    resumed = make(speech(500))
    resumed.load_state_dict(sampler.state_dict(batches=3))
    assert trained + list(resumed) == expected
    # And once more from there, when all is handed out but not trained.
    assert resumed.state_dict(batches=2)["batches_done"] == 5


def test_an_older_iterator_does_not_move_a_newer_epoch() -> None:
    sampler = make(speech(500))
    old = iter(sampler)
    next(old)
    sampler.set_epoch(1)
    next(old)
    assert sampler.state_dict()["batches_done"] == 0


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"max_seconds": 31.0},
        {"max_batch": 3},
        {"max_padding": 0.2},
        {"count_padding": False},
        {"shuffle": False},
        {"lengths": speech(500, 1)},
    ],
)
def test_a_state_of_another_order_is_refused(other: dict[str, Any]) -> None:
    state = make(speech(500)).state_dict()
    name = "lengths_sha256" if "lengths" in other else next(iter(other))
    name = "budget" if name == "max_seconds" else name
    sampler = make(**{"lengths": speech(500), **other})
    with pytest.raises(InvalidArgumentError, match=rf"another order of batches: {name} was"):
        sampler.load_state_dict(state)
    with pytest.raises(InvalidArgumentError, match="version"):
        make(speech(500)).load_state_dict({**state, "version": 1})


def test_rows_that_are_too_long() -> None:
    lengths = [5.0, 31.0, 6.0, 45.0, 30.0]
    with pytest.raises(InvalidArgumentError, match=r"2 of 5 rows .* budget of 30 .row 1 of 31, "):
        make(lengths)
    for count_padding in (True, False):
        with pytest.warns(UserWarning, match=r"2 of 5 rows .* are left out"):
            dropping = make(lengths, on_too_long="drop", count_padding=count_padding)
        assert dropping.too_long.tolist() == [1, 3]
        assert sorted(rows_of(dropping)) == [0, 2, 4]
        with pytest.warns(UserWarning, match=r"2 of 5 rows .* batches of one row"):
            alone = make(lengths, on_too_long="alone", count_padding=count_padding)
        assert sorted(rows_of(alone)) == [0, 1, 2, 3, 4]
        assert [1] in list(alone)
        assert [3] in list(alone)


@given(LENGTHS, SETTINGS, EPOCHS)
def test_rows_alone_are_the_only_batches_above_the_budget(
    lengths: list[float], settings: dict[str, Any], epoch: int
) -> None:
    settings["max_seconds"] = 7.0
    long = [row for row, length in enumerate(lengths) if length > 7]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = epoch_of(make(lengths, **settings, on_too_long="alone"), epoch)
        kept = epoch_of(make(lengths, **settings, on_too_long="drop"), epoch)
    assert sorted(batch for batch in batches if max(lengths[r] for r in batch) > 7) == [
        [row] for row in long
    ]
    assert sorted(rows_of(batches)) == list(range(len(lengths)))
    assert sorted(rows_of(kept) + long) == list(range(len(lengths)))


def test_tokens_are_a_budget_too() -> None:
    tokens = np.random.default_rng(0).integers(1, 4_000, 1_000)
    batches = list(DurationBatchSampler(tokens, max_tokens=16_000, rank=0, world_size=1))
    assert max(tokens[batch].max() * len(batch) for batch in batches) <= 16_000
    assert all(type(row) is int for batch in batches for row in batch)


def test_epochs_mix_rows_and_batches_anew() -> None:
    sampler = make(speech(20_000), max_seconds=200.0)
    first, second = (epoch_of(sampler, epoch) for epoch in (0, 1))
    other = epoch_of(make(speech(20_000), max_seconds=200.0, seed=1), 0)
    for one, two in combinations((first, second, other), 2):
        same = {tuple(sorted(batch)) for batch in one} & {tuple(sorted(batch)) for batch in two}
        # Those of groups of a single batch, at the ends of the lengths.
        assert len(same) < 0.01 * len(one)
        assert sum(a == b for a, b in zip(one, two, strict=True)) < 5


def test_each_row_meets_each_other_of_its_group() -> None:
    # 30 equal rows in batches of 10: two rows meet in 9 of 29 epochs.
    sampler = make([3.0] * 30)
    met = sum(
        any({0, 29} <= set(batch) for batch in epoch_of(sampler, epoch)) for epoch in range(2_000)
    )
    assert met / 2_000 == pytest.approx(9 / 29, abs=0.04)


def test_without_shuffle_the_longest_come_first() -> None:
    lengths = speech(2_000)
    batches = epoch_of(make(lengths, shuffle=False), 7)
    longest = [lengths[batch].max() for batch in batches]
    assert all(a >= b for a, b in pairwise(longest))


def test_little_is_padding_and_the_budget_is_used() -> None:
    lengths = speech(20_000)
    sampler = make(lengths, max_seconds=300.0, max_padding=0.1)
    batches = list(sampler)
    computed = [lengths[batch].max() * len(batch) for batch in batches]
    assert sampler.padding == pytest.approx(1 - lengths.sum() / sum(computed), abs=1e-12)
    assert sampler.padding < 0.06
    assert np.mean(computed) > 0.95 * 300
    packed = make(lengths, max_seconds=300.0, count_padding=False)
    assert lengths.sum() / (300 * len(packed)) > 0.9


def test_processes_come_from_torch_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = DurationBatchSampler(speech(500), max_seconds=30.0)
    assert (sampler.rank, sampler.world_size) == (0, 1)
    whole = len(sampler)
    # It may be initialised after the sampler was made.
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    assert (sampler.rank, sampler.world_size) == (2, 4)
    assert len(sampler) == math.ceil(whole / 4)
    assert list(sampler) == list(make(speech(500), 2, 4))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"lengths": [1.0, math.nan]}, "length of row 1 is nan"),
        ({"lengths": [-1.0]}, "length of row 0 is -1"),
        ({"lengths": [[1.0]]}, "2 dimensions"),
        ({"max_seconds": None}, "either max_seconds or max_tokens"),
        ({"max_tokens": 3}, "either max_seconds or max_tokens"),
        ({"max_seconds": 0.0}, "budget must be a positive number, not 0"),
        ({"max_seconds": math.inf}, "budget must be a positive number, not inf"),
        ({"max_batch": 0}, "max_batch must be at least 1, not 0"),
        ({"max_padding": 1.0}, "max_padding must be"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"on_too_long": "skip"}, "on_too_long must be"),
        ({"rank": 0}, "together"),
        ({"rank": 2, "world_size": 2}, "rank must be from 0 to below world_size=2, not 2"),
    ],
)
def test_wrong_arguments(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        DurationBatchSampler(**{"lengths": [1.0], "max_seconds": 30.0, **wrong})
    with pytest.raises(InvalidArgumentError, match="epoch must be at least 0, not -1"):
        make([1.0]).set_epoch(-1)

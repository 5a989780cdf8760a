"""MetadataSampler: shares of strata, exact; one order for any number of processes; places in it."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ossicle.dataloader import ManifestError, MetadataSampler
from ossicle.errors import InvalidArgumentError

LABELS = st.lists(st.sampled_from(["KCHI", "FEM", "MAL", None]), min_size=1, max_size=80)
WORLDS = st.integers(1, 5)
SHARES = st.sampled_from(["proportional", "equal"])


def make(labels: list[Any], rank: int = 0, world_size: int = 1, **settings: Any) -> MetadataSampler:
    settings.setdefault("strata", ["label"])
    frame = pl.DataFrame({"label": labels}, schema={"label": pl.String})
    return MetadataSampler(frame, rank=rank, world_size=world_size, **settings)


def epoch_of(sampler: MetadataSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def apportioned(weights: list[float], total: int) -> list[int]:
    """Hamilton's method in fractions, the slow way."""
    from fractions import Fraction

    exact = [Fraction(weight) * total / sum(map(Fraction, weights)) for weight in weights]
    seats = [math.floor(share) for share in exact]
    by_rest = sorted(range(len(weights)), key=lambda n: (seats[n] - exact[n], n))
    for number in by_rest[: total - sum(seats)]:
        seats[number] += 1
    return seats


@given(LABELS, st.integers(0, 2**70), st.integers(0, 99))
def test_without_shares_each_row_comes_once(
    labels: list[str | None], seed: int, epoch: int
) -> None:
    order = epoch_of(make(labels, seed=seed), epoch)
    assert sorted(order) == list(range(len(labels)))


@given(LABELS, SHARES, st.integers(1, 200), st.booleans())
@example(["KCHI", *["FEM"] * 10, *["MAL"] * 4], "proportional", 5, False)  # all remainders are 1/3
def test_counts_are_exact(
    labels: list[str | None], shares: str, total: int, replacement: bool
) -> None:
    sizes = Counter(labels)
    names = sorted(sizes, key=lambda name: (name is not None, name))
    weights = [1 if shares == "equal" else sizes[name] for name in names]
    wanted = dict(zip(names, apportioned(weights, total), strict=True))
    settings = {"shares": shares, "num_samples": total, "replacement": replacement}
    if not replacement and any(wanted[name] > sizes[name] for name in names):
        with pytest.raises(InvalidArgumentError, match="which has"):
            make(labels, **settings)
        return
    sampler = make(labels, **settings)
    order = list(sampler)
    assert sampler.strata == names
    assert sampler.counts.tolist() == list(wanted.values())
    assert Counter(labels[row] for row in order) == {k: n for k, n in wanted.items() if n}
    assert replacement or len(set(order)) == len(order) == total


@given(LABELS, st.lists(st.integers(0, 5), min_size=4, max_size=4))
def test_the_largest_epoch_of_given_shares(labels: list[str | None], given: list[int]) -> None:
    weights = dict(zip(["KCHI", "FEM", "MAL", None], given, strict=True))
    sizes = Counter(labels)
    weights = {name: weight for name, weight in weights.items() if name in sizes}
    if not any(weights.values()):
        with pytest.raises(InvalidArgumentError, match="not all of them 0"):
            make(labels, shares=weights)
        return
    sampler = make(labels, shares=weights)
    taken = dict(zip(sampler.strata, sampler.counts.tolist(), strict=True))
    assert all(taken[name] <= sizes[name] for name in taken)
    assert all(taken[name] == 0 for name, weight in weights.items() if weight == 0)
    # No epoch that is larger by as many samples as there are strata has rows enough.
    more = apportioned([weights[name] for name in taken], sampler.num_samples + 2 * len(taken))
    assert any(count > sizes[name] for name, count in zip(taken, more, strict=True))


def test_every_stretch_has_the_shares() -> None:
    labels = ["KCHI"] * 700 + ["FEM"] * 200 + ["MAL"] * 100
    order = [labels[row] for row in make(labels)]
    for start in range(0, 1_000, 50):
        found = Counter(order[start : start + 50])
        for name, share in (("KCHI", 0.7), ("FEM", 0.2), ("MAL", 0.1)):
            assert abs(found[name] - 50 * share) <= 2, (start, found)


@pytest.mark.parametrize("replacement", [False, True])
def test_rows_of_a_stratum_are_equally_likely(replacement: bool) -> None:
    # 5 of 10 rows of "a" an epoch, 400 epochs: each some 200 times; so is each place of them.
    sampler = make(["a"] * 10 + ["b"] * 5, shares="equal", num_samples=10, replacement=replacement)
    rows, first = np.zeros(10), np.zeros(10)
    for epoch in range(400):
        own = [row for row in epoch_of(sampler, epoch) if row < 10]
        rows += np.bincount(own, minlength=10)
        first[own[0]] += 1
    assert rows.sum() == 2_000
    for counts in (rows, first):
        expected = counts.mean()
        # Of chi-square with 9 degrees of freedom, one in a thousand is beyond 27.88.
        assert ((counts - expected) ** 2 / expected).sum() < 27.88


@given(LABELS, SHARES, st.booleans(), WORLDS, st.booleans())
def test_processes_take_turns_at_one_order(
    labels: list[str | None], shares: str, replacement: bool, world: int, drop_last: bool
) -> None:
    settings = {"shares": shares, "replacement": replacement, "drop_last": drop_last}
    order = epoch_of(make(labels, **settings), 3)
    samplers = [make(labels, rank, world, **settings) for rank in range(world)]
    dealt = [epoch_of(sampler, 3) for sampler in samplers]
    rounds = len(order) // world if drop_last else math.ceil(len(order) / world)
    assert [len(share) for share in dealt] == [rounds] * world == [len(s) for s in samplers]
    flat = [dealt[rank][step] for step in range(rounds) for rank in range(world)]
    assert flat[: len(order)] == order[: len(flat)]
    assert flat[len(order) :] == [order[n % len(order)] for n in range(len(flat) - len(order))]


@given(LABELS, SHARES, st.lists(WORLDS, min_size=1, max_size=4), st.integers(1, 9))
def test_a_stopped_epoch_goes_on_with_any_number_of_processes(
    labels: list[str | None], shares: str, worlds: list[int], steps: int
) -> None:
    settings = {"shares": shares, "seed": 5}
    order = epoch_of(make(labels, **settings), 2)
    seen: list[int] = []
    state: dict[str, Any] | None = None
    for world in worlds:
        samplers = [make(labels, rank, world, **settings) for rank in range(world)]
        for sampler in samplers:
            sampler.set_epoch(2)
            if state is not None:
                sampler.load_state_dict(json.loads(json.dumps(state)))
        turns = [iter(sampler) for sampler in samplers]
        done = min(steps, len(samplers[0]))
        for _ in range(done):
            seen += [next(turn) for turn in turns]
        states = [sampler.state_dict() for sampler in samplers]
        assert all(
            one == states[0] == s.state_dict(samples=done)
            for one, s in zip(states, samplers, strict=True)
        )
        state = states[0]
        seen = seen[: state["samples_done"]]
        if state["samples_done"] == len(order):
            break
    rest = make(labels, **settings)
    assert state is not None
    rest.load_state_dict(state)
    if state["samples_done"] < len(order):
        seen += list(rest)
    assert seen == order


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    labels = ["a", "b", "b", None] * 20
    sampler = make(labels, seed=7)
    first = epoch_of(sampler, 1)
    assert epoch_of(sampler, 2) != first
    assert epoch_of(sampler, 1) == first == epoch_of(pickle.loads(pickle.dumps(sampler)), 1)
    assert epoch_of(make(labels, seed=8), 1) != first
    assert list(DataLoader(range(80), sampler=sampler, batch_size=None)) == first
    # What the stream was when this was written: it must stay, or runs do not resume.
    assert epoch_of(make(labels, seed=7), 0)[:8] == FIRST


FIRST = [25, 27, 13, 68, 54, 48, 69, 15]


def test_strata_of_several_columns_and_quantiles() -> None:
    generator = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "split": generator.choice(["train", "dev"], 1_000),
            "speaker": generator.integers(0, 3, 1_000),
            "snr": generator.normal(10, 5, 1_000),
            "is_child": generator.random(1_000) < 0.5,
        }
    ).with_columns(snr=pl.when(pl.int_range(pl.len()) % 50 == 0).then(None).otherwise("snr"))
    sampler = MetadataSampler(frame, ["split", "speaker", "is_child"])
    counts = (
        frame.group_by("split", "speaker", "is_child").len().sort("split", "speaker", "is_child")
    )
    assert sampler.strata == counts.drop("len").rows()
    assert sampler.counts.tolist() == counts["len"].to_list()
    quarters = MetadataSampler(frame, "snr", bins={"snr": 4})
    assert quarters.strata == [None, 0, 1, 2, 3]
    assert quarters.counts.tolist() == [20, 245, 245, 245, 245]
    chosen = MetadataSampler(frame, "snr", {None: 0, 0: 0, 1: 0, 2: 0, 3: 1}, bins={"snr": 4})
    assert frame[list(chosen)]["snr"].min() >= frame["snr"].quantile(0.75, "linear")


def test_what_is_refused() -> None:
    labels = ["a", "a", "b"]
    with pytest.raises(
        ManifestError, match=r"column 'snr': Float64 cannot be strata.*bins=\{'snr': 4\}"
    ):
        MetadataSampler(pl.DataFrame({"snr": [0.5]}), ["snr"])
    with pytest.raises(
        ManifestError, match="column 'lable': unknown column; the columns are label"
    ):
        make(labels, strata=["lable"])
    with pytest.raises(InvalidArgumentError, match="unknown stratum 'c'; there are 'a', 'b'"):
        make(labels, shares={"a": 1, "b": 1, "c": 1})
    with pytest.raises(InvalidArgumentError, match="no share for the stratum 'b'"):
        make(labels, shares={"a": 1})
    with pytest.raises(
        InvalidArgumentError, match=r"need 2 of the stratum 'b', which has 1.*most 2"
    ):
        make(labels, shares="equal", num_samples=4)
    with pytest.raises(InvalidArgumentError, match="shares must be"):
        make(labels, shares="fair")
    with pytest.raises(InvalidArgumentError, match=r"seed was 1, is 0"):
        make(labels).load_state_dict(make(labels, seed=1).state_dict())
    with pytest.raises(InvalidArgumentError, match="strata_sha256"):
        make(labels).load_state_dict(make(["a", "b", "b"]).state_dict())
    for wrong in ({"num_samples": 0}, {"seed": -1}, {"rank": 2, "world_size": 2}):
        with pytest.raises(InvalidArgumentError):
            make(labels, **wrong)

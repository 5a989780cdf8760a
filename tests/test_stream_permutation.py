"""Permutations that are functions of a key, and shares of draws that are exact at any place."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle.errors import InvalidArgumentError
from ossicle.stream.mixing import Mixture, apportion, interleaved
from ossicle.stream.permutation import Permutation, RunPermutation, random_bits


def check_bijection(size: int) -> None:
    places = np.arange(size)
    for run in (1, 1 + size % 7):
        found = RunPermutation(size, run, 3, size)(places)
        assert np.array_equal(np.sort(found), places), (size, run)


@pytest.mark.thorough
def test_every_size_is_a_bijection() -> None:
    for size in range(1, 5_001):
        check_bijection(size)


def test_sizes_are_bijections() -> None:
    for size in [*range(130), *range(130, 5_001, 61), 4_999, 5_000]:
        check_bijection(size)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 2**40), st.integers(0, 2**32))
def test_the_inverse_leads_back(size: int, key: int) -> None:
    order = Permutation(size, key)
    places = np.unique(np.linspace(0, size - 1, 50).astype(np.int64))
    found = order(places)
    assert found.min() >= 0
    assert found.max() < size
    assert np.array_equal(order.inverse(found), places)


def test_any_place_is_reached_by_itself() -> None:
    order = Permutation(10_000_000, 1)
    whole = order(np.arange(5_000_000, 5_020_000))
    assert [int(order([place])[0]) for place in range(5_000_000, 5_000_020)] == whole[:20].tolist()
    assert int(Permutation(2**62, 5)([2**62 - 1])[0]) < 2**62


def test_all_permutations_come_equally_often() -> None:
    for size in (3, 4, 5):
        came = Counter(
            tuple(Permutation(size, key)(np.arange(size)).tolist()) for key in range(1_200)
        )
        assert came.keys() == set(itertools.permutations(range(size)))
        assert max(came.values()) < 1_200 / len(came) * 3


def test_a_permutation_looks_random() -> None:
    found = Permutation(100_000, 7)(np.arange(100_000))
    quarters = np.bincount(found[:1_000] // 25_000)
    assert quarters.min() > 180
    assert abs(np.corrcoef(found, np.arange(100_000))[0, 1]) < 0.02
    assert (np.abs(np.diff(found)) == 1).sum() < 20
    other = Permutation(100_000, 8)(np.arange(100_000))
    assert (found == other).sum() < 20


def test_the_order_is_what_it_was() -> None:
    """The order of a plan that is stored in checkpoints may not change."""
    assert Permutation(10, 1, 2)(np.arange(10)).tolist() == ORDER
    assert RunPermutation(10, 3, 1, 2)(np.arange(10)).tolist() == RUNS
    assert int(random_bits([5], 9)[0]) == BITS


ORDER = [2, 6, 4, 9, 7, 5, 0, 8, 3, 1]
RUNS = [3, 4, 5, 9, 0, 1, 2, 6, 7, 8]
BITS = 15123518953623291429


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.data())
def test_draws_are_apportioned(quotas: list[int], data: st.DataObject) -> None:
    mixture = Mixture(quotas)
    first = data.draw(st.integers(0, mixture.total))
    second = data.draw(st.integers(first, mixture.total))
    one, two = mixture.taken(first), mixture.taken(second)
    assert (sum(one), sum(two)) == (first, second)
    assert all(0 <= a <= b for a, b in zip(one, two, strict=True))
    assert mixture.taken(mixture.total) == quotas
    if len([quota for quota in quotas if quota]) <= 2:
        exact = np.array(quotas) * first / max(mixture.total, 1)
        assert np.abs(np.array(one) - exact).max() <= 0.5 + 1e-9


def test_draws_are_those_of_a_list() -> None:
    """Against the plain definition: all draws sorted by where they belong."""
    quotas = [7, 0, 3, 11, 1]
    belong = sorted(((2 * j + 1) / q, n) for n, q in enumerate(quotas) for j in range(q))
    for draws in range(23):
        counted = Counter(source for _, source in belong[:draws])
        assert Mixture(quotas).taken(draws) == [counted[n] for n in range(5)]


def test_apportioning() -> None:
    assert apportion([1, 1, 1], 10) == [4, 3, 3]
    assert apportion([0.5, 0.25, 0.25], 2) == [1, 1, 0]
    assert apportion([0, 0], 0) == [0, 0]
    with pytest.raises(InvalidArgumentError):
        apportion([0, 0], 1)


def test_interleaving_is_smooth() -> None:
    rows = [np.arange(600), np.arange(300), np.arange(100)]
    order = interleaved([0, 0, 0], [600, 300, 100], rows, False, 1)
    assert sorted(order.tolist()) == list(range(1_000))
    sources = np.searchsorted([600, 900, 1_000], order, side="right")
    for end in range(50, 1_000, 50):
        assert (
            np.abs(np.bincount(sources[:end], minlength=3) - np.array([0.6, 0.3, 0.1]) * end).max()
            < 3
        )

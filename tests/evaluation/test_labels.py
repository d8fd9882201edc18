from __future__ import annotations

from itertools import combinations

import pytest
import torch

from leads.errors import DataError, ShapeError
from leads.evaluation import adjusted_rand_index


def by_pairs(a: list[int], b: list[int]) -> float:
    """The index from its definition: every pair looked at."""
    pairs = list(combinations(range(len(a)), 2))
    same_a = [a[i] == a[j] for i, j in pairs]
    same_b = [b[i] == b[j] for i, j in pairs]
    both = sum(p and q for p, q in zip(same_a, same_b, strict=True))
    expected = sum(same_a) * sum(same_b) / len(pairs)
    return (both - expected) / ((sum(same_a) + sum(same_b)) / 2 - expected)


def test_against_all_pairs() -> None:
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        a, b = torch.randint(4, (2, 15), generator=g)
        assert adjusted_rand_index(a, b) == pytest.approx(by_pairs(a.tolist(), b.tolist()), abs=1e-12)


def test_known_values() -> None:
    t = torch.tensor
    assert adjusted_rand_index(t([0, 0, 1, 1]), t([5, 5, -2, -2])) == 1
    assert adjusted_rand_index(t([0, 0, 1, 2]), t([0, 0, 1, 1])) == pytest.approx(4 / 7)
    assert adjusted_rand_index(t([0, 0, 0, 0]), t([0, 1, 2, 3])) == 0
    assert adjusted_rand_index(t([0, 1, 0, 1]), t([0, 0, 1, 1])) == pytest.approx(-0.5)
    assert adjusted_rand_index(t([3]), t([0])) == 1


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"\(3,\) and \(2,\)"):
        adjusted_rand_index(torch.zeros(3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match="whole numbers"):
        adjusted_rand_index(torch.zeros(3), torch.zeros(3, dtype=torch.int64))

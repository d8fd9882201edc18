"""How well inferred environment labels agree with the true ones."""

from __future__ import annotations

import torch
from torch import Tensor

from leads.errors import DataError, ShapeError


def adjusted_rand_index(labels: Tensor, truth: Tensor) -> float:
    """Agreement of two partitions of the same n items, whatever their labels are called: ``(n,)`` and ``(n,)``.

    The share of pairs that both put together or both put apart, corrected for chance: 1 for equal partitions, 0 in the
    mean over random ones, negative for worse.

    Raises:
        ShapeError, DataError: labels that do not match item by item, or that are not whole numbers.

    Source: Hubert and Arabie (1985), Journal of Classification 2, eq. 5.
    """
    if labels.ndim != 1 or labels.shape != truth.shape or not len(labels):
        raise ShapeError(f"Labels need shapes (n,) and (n,), got {tuple(labels.shape)} and {tuple(truth.shape)}.")
    if labels.is_floating_point() or truth.is_floating_point():
        raise DataError(f"Labels are whole numbers, got {labels.dtype} and {truth.dtype}.")
    one, two = (x.unique(return_inverse=True)[1].cpu() for x in (labels, truth))
    table = torch.zeros(int(one.max()) + 1, int(two.max()) + 1, dtype=torch.float64)
    table.index_put_((one, two), torch.ones(len(one), dtype=torch.float64), accumulate=True)
    pairs = lambda n: float((n * (n - 1) / 2).sum())  # noqa: E731
    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    total = len(one) * (len(one) - 1) / 2
    expected = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)

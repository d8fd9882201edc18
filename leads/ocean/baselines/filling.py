"""Gaps and land filled from the sea around them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from leads.errors import DataError


def grown(field: Tensor, sweeps: int = 40) -> Tensor:
    """Values ``(..., Y, X)`` with NaN filled from their neighbours.

    Ring by ring, each point takes the mean of its known neighbours; then ``sweeps`` of Jacobi's method smooth what was
    filled towards the solution of Laplace's equation. Known values stay as they are.

    Raises:
        DataError: a plane without any known value.
    """
    known = torch.isfinite(field)
    if bool(known.all()):
        return field
    if not bool(known.flatten(-2).any(-1).all()):
        raise DataError("A plane has no value at all (all land or all missing), so nothing can be filled from it.")
    x, have = torch.where(known, field, torch.zeros_like(field)), known
    while not bool(have.all()):
        count = _neighbours(have.to(x))
        mean = _neighbours(torch.where(have, x, torch.zeros_like(x))) / count.clamp_min(1)
        fresh = ~have & (count > 0)
        x, have = torch.where(fresh, mean, x), have | fresh
    weight = _neighbours(torch.ones_like(x))
    for _ in range(sweeps):
        x = torch.where(known, x, _neighbours(x) / weight)
    return x


def _neighbours(x: Tensor) -> Tensor:
    """Sum of the four neighbours, nothing beyond the edge."""
    wide = pad(x, (1, 1, 1, 1))
    return wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]

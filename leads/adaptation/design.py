"""Greedy choice of observations of a linear Gaussian model: batched over environments."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Gains ``(E, B)`` of candidates from a root of the present covariance ``(E, d, d)`` and the information that each adds
#: in coordinates where that covariance is the identity, ``(E, B, d, d)``.
Worth = Callable[[Tensor, Tensor], Tensor]


def greedy(informations: Tensor, n: int, worth: Worth, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Choose ``n`` candidates one after the other, each the best beside those before it; none twice.

    Args:
        informations: ``J^T J / sigma^2`` of B candidates in coordinates in which the covariance is the identity,
            ``(E, B, d, d)``.
        n: how many.
        worth: what a candidate gains.
        free: ``True`` where a candidate may be chosen, ``(E, B)``.

    Returns:
        Indices and gains ``(E, n)`` in order, and the gains of all candidates taken alone ``(E, B)``.
    """
    e, b, d, _ = informations.shape
    eye = torch.eye(d, dtype=informations.dtype, device=informations.device)
    root, rows = eye.expand(e, d, d), torch.arange(e, device=informations.device)
    order, best, alone = [], [], informations.new_zeros(e, b)
    for i in range(n):
        added = root.mT[:, None] @ informations @ root[:, None]
        gains = worth(root, added)
        alone = gains if i == 0 else alone
        value, index = torch.where(free, gains, -torch.inf).max(1)
        order.append(index)
        best.append(value)
        free = free.index_put((rows, index), torch.zeros_like(index, dtype=torch.bool))
        # Sigma' = R (I + R^T M R)^-1 R^T, and the inverse of a triangular root is its root.
        lower = torch.linalg.cholesky(eye + added[rows, index])
        root = root @ torch.linalg.inv(lower).mT
    return torch.stack(order, 1), torch.stack(best, 1), alone


def information(root: Tensor, added: Tensor) -> Tensor:
    """``1/2 log det (I + R^T M R)``."""
    eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    return torch.linalg.slogdet(eye + added).logabsdet / 2


def variance_of(slopes: Tensor) -> tuple[Worth, Tensor]:
    """The decrease of the mean variance of a forecast with these slopes ``(E, d, ...)``, and that variance."""
    flat = slopes.flatten(2)
    spread = flat @ flat.mT / flat.shape[2]

    def worth(root: Tensor, added: Tensor) -> Tensor:
        eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
        seen = (root.mT @ spread @ root)[:, None]
        # I - (I + K)^-1 = (I + K)^-1 K
        return (torch.linalg.solve(eye + added, added) @ seen).diagonal(dim1=-2, dim2=-1).sum(-1)

    return worth, spread.diagonal(dim1=1, dim2=2).sum(1)

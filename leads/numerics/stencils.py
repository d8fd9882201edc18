"""Finite differences of fields whose space axes come first: ``(*X, ...)``.

Trajectories on the trailing axes are neighbours in memory, so that every stencil runs along whole rows of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from leads.errors import SettingsError, UnknownNameError
from leads.registry import nearest

Boundary = Literal["periodic", "neumann", "dirichlet"]
BOUNDARIES = ("periodic", "neumann", "dirichlet")

#: Weights of the second derivative at offsets 0, 1, 2, ... by order of accuracy (Fornberg, 1988).
SECOND = {2: (-2.0, 1.0), 4: (-5 / 2, 4 / 3, -1 / 12), 6: (-49 / 18, 3 / 2, -3 / 20, 1 / 90)}
#: Weights of the first derivative at offsets 1, 2, ... (antisymmetric).
FIRST = {2: (1 / 2,), 4: (2 / 3, -1 / 12), 6: (3 / 4, -3 / 20, 1 / 60)}


def shift(x: Tensor, by: int, axis: int, boundary: Boundary = "periodic") -> Tensor:
    """The value ``by`` cells further along ``axis``: ``shift(x, 1, 0)[i] = x[i + 1]``.

    Beyond the edge stand the values of the other end (periodic), the mirror image about the outer side of the last
    cell (neumann: no flux), or zero (dirichlet).

    Raises:
        UnknownNameError: unknown boundary.
    """
    if boundary == "periodic":
        return x.roll(-by, axis)
    n, m = x.shape[axis], abs(by)
    inner = x.narrow(axis, m if by > 0 else 0, n - m)
    ghost = _ghost(x, m, axis, boundary, above=by > 0)
    return torch.cat([inner, ghost] if by > 0 else [ghost, inner], axis)


def extend(x: Tensor, by: int, axis: int, boundary: Boundary = "periodic") -> Tensor:
    """``x`` with the ``by`` values that stand beyond either edge (see :func:`shift`), ``2 by`` longer along ``axis``.

    Parts of it are neighbours without a copy; with many of them that is faster than :func:`shift`.

    Raises:
        UnknownNameError: unknown boundary.
    """
    below, above = (_ghost(x, by, axis, boundary, above=up) for up in (False, True))
    return torch.cat([below, x, above], axis)


def _ghost(x: Tensor, m: int, axis: int, boundary: Boundary, above: bool) -> Tensor:
    """The ``m`` values beyond one edge."""
    if boundary not in BOUNDARIES:
        raise UnknownNameError(f"No boundary is named {boundary!r}. {nearest(str(boundary), BOUNDARIES)}")
    last = x.shape[axis] - m
    if boundary == "periodic":
        return x.narrow(axis, 0 if above else last, m)
    edge = x.narrow(axis, last if above else 0, m)
    return edge.flip(axis) if boundary == "neumann" else torch.zeros_like(edge)


def second_derivative(x: Tensor, spacing: float, axis: int, order: int = 2, boundary: Boundary = "periodic") -> Tensor:
    """Centred second derivative along one axis; ``order`` 2, 4 or 6."""
    # Divided once here rather than at every cell: a division costs as much as the rest of the sum.
    centre, *rest = (w / spacing**2 for w in _weights(SECOND, order))
    total = centre * x
    for offset, w in enumerate(rest, 1):
        total = total + w * (shift(x, offset, axis, boundary) + shift(x, -offset, axis, boundary))
    return total


def first_derivative(x: Tensor, spacing: float, axis: int, order: int = 2, boundary: Boundary = "periodic") -> Tensor:
    """Centred first derivative along one axis; ``order`` 2, 4 or 6."""
    terms = [
        w / spacing * (shift(x, offset, axis, boundary) - shift(x, -offset, axis, boundary))
        for offset, w in enumerate(_weights(FIRST, order), 1)
    ]
    return sum(terms[1:], terms[0])


def laplacian(x: Tensor, spacing: Sequence[float], order: int = 2, boundary: Boundary = "periodic") -> Tensor:
    """Sum of the second derivatives along the first ``len(spacing)`` axes."""
    parts = [second_derivative(x, h, axis, order, boundary) for axis, h in enumerate(spacing)]
    return sum(parts[1:], parts[0])


def laplacian_nine(x: Tensor, spacing: float) -> Tensor:
    """Isotropic nine-point Laplacian of periodic fields ``(Y, X, ...)``: centre -3, edges 1/2, corners 1/4.

    It is ``S - 4`` with ``S = (1/4) [1 2 1]^T [1 2 1]``, so two passes of three points do.
    """
    rows = x.roll(1, 0) + x.roll(-1, 0) + 2 * x
    return (0.25 / spacing**2) * (rows.roll(1, 1) + rows.roll(-1, 1) + 2 * rows) - (4 / spacing**2) * x


def weno(x: Tensor, axis: int, boundary: Boundary = "periodic", eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Values on both sides of the upper face of every cell, from cell averages, of order 5 where they are smooth.

    Three parabolas of three cells each are blended; one that crosses a jump gets next to no weight, so that no new
    extrema appear there (WENO-Z: Jiang and Shu, 1996; Borges et al., 2008).

    Args:
        x: cell averages.
        axis, boundary: as for :func:`shift`.
        eps: added to the smoothness of each parabola, in units of ``x`` squared; far below that of a jump worth keeping.

    Returns:
        ``(lower, upper)``, each of the shape of ``x``: at index ``i`` the limits at the face between cells ``i`` and
        ``i + 1`` from within cell ``i`` and from within cell ``i + 1``.
    """
    n = x.shape[axis]
    wide = extend(x, 3, axis, boundary)
    # Every cell and one more at either end.
    a, b, c, d, e = (wide.narrow(axis, start, n + 2) for start in range(5))
    curvature = (a - 2 * b + c, b - 2 * c + d, c - 2 * d + e)
    slope = (a - 4 * b + 3 * c, b - d, 3 * c - 4 * d + e)
    rough = [13 / 12 * q * q + 0.25 * s * s for q, s in zip(curvature, slope, strict=True)]
    jump = (rough[0] - rough[2]).square()
    trust = [1 + jump / (r + eps).square() for r in rough]
    up = _blend((1.0, 6.0, 3.0), trust, (2 * a - 7 * b + 11 * c, 5 * c - b + 2 * d, 2 * c + 5 * d - e))
    down = _blend((3.0, 6.0, 1.0), trust, (2 * c + 5 * b - a, 5 * c - d + 2 * b, 2 * e - 7 * d + 11 * c))
    return up.narrow(axis, 1, n), down.narrow(axis, 2, n)


def _blend(ideal: tuple[float, ...], trust: list[Tensor], sixfold: tuple[Tensor, ...]) -> Tensor:
    weights = [w * q for w, q in zip(ideal, trust, strict=True)]
    total = weights[0] * sixfold[0] + weights[1] * sixfold[1] + weights[2] * sixfold[2]
    return total / (6 * (weights[0] + weights[1] + weights[2]))


def _weights(table: dict[int, tuple[float, ...]], order: int) -> tuple[float, ...]:
    if order not in table:
        raise SettingsError(f"Finite differences have order {', '.join(map(str, table))} here, got {order}.")
    return table[order]

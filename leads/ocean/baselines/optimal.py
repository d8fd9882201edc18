"""Optimal interpolation of scattered observations in space and time, by local solves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError


@dataclass(frozen=True)
class Covariance:
    """``exp(-(dt / lt)^2 - (dy / ly)^2 - (dx / lx)^2)`` between two points, and ``noise^2`` more between one and itself.

    In units of the signal's variance. Source: the optimal interpolation of the 2020a mapping challenge (baseline: Lx = Ly
    = 1 degree, Lt = 7 days, noise 5 %); the formula is Bretherton, Davis and Fandry's (1976), Deep-Sea Res. 23.

    Attributes:
        lt, ly, lx: scales, in the units of the coordinates.
        noise: standard deviation of the observations' error over that of the signal, positive.

    Raises:
        SettingsError: a value that is not positive and finite.
    """

    lt: float
    ly: float
    lx: float
    noise: float = 0.05

    def __post_init__(self) -> None:
        if not all(0 < v < math.inf for v in (self.lt, self.ly, self.lx, self.noise)):
            raise SettingsError(f"Scales and noise of a covariance must be positive and finite, got {self}.")

    @property
    def scales(self) -> Tensor:
        return torch.tensor([self.lt, self.ly, self.lx], dtype=torch.float64)


@dataclass(frozen=True)
class Window:
    """How a large problem is cut into small ones.

    The grid is cut into tiles; each is analysed from the observations within ``reach`` scales of it along every axis, the
    ``most`` nearest of them. ``Window(reach=math.inf, most=None)`` is the exact solution from all observations.

    Attributes:
        tile: grid points of a tile along t, y and x.
        reach: scales; at two, the challenge's reach in time, the covariance has fallen to 2 %.
        most: observations of a tile.

    Raises:
        SettingsError: values that are not positive.
    """

    tile: tuple[int, int, int] = (8, 16, 16)
    reach: float = 2.0
    most: int | None = 500

    def __post_init__(self) -> None:
        if min(self.tile) < 1 or not self.reach > 0 or (self.most is not None and self.most < 1):
            raise SettingsError(f"Tiles, reach and number of observations must be positive, got {self}.")


@dataclass(frozen=True)
class Analysis:
    """Attributes:
    mean: unit of the observations, ``(B, T, Y, X)``.
    variance: of the error, over that of the signal, ``(B, T, Y, X)``: 1 far from observations.
    """

    mean: Tensor
    variance: Tensor


def optimal_interpolation(
    values: Tensor,
    places: Tensor,
    grid: tuple[Tensor, Tensor, Tensor],
    covariance: Covariance,
    window: Window | None = None,
    *,
    errors: bool = True,
) -> Analysis:
    """Best linear estimate of anomalies on a grid: ``b (A + noise^2)^-1 values``, error ``1 - b (A + noise^2)^-1 b``.

    Args:
        values: anomalies about a mean or background, ``(B, M)``; NaN where missing. All of B at once.
        places: (t, y, x) of the observations, ``(M, 3)`` or ``(B, M, 3)``.
        grid: coordinates t, y, x of the answer, ``(T,)``, ``(Y,)``, ``(X,)``.
        covariance: in the same units.
        window: how the problem is cut; see :class:`Window`.
        errors: False leaves the variance out (NaN), which is most of the work.

    Returns:
        In the precision of ``values``; solved in float64.

    Raises:
        ShapeError: axes that do not fit.
    """
    window = Window() if window is None else window
    if values.ndim != 2 or places.shape[-2:] != (values.shape[1], 3) or places.ndim not in (2, 3):
        raise ShapeError(
            f"Values (B, M) need places (M, 3) or (B, M, 3), got {tuple(values.shape)} and {tuple(places.shape)}."
        )
    scales = covariance.scales.to(values.device)
    y = values.to(torch.float64)
    x = (places.to(values.device, torch.float64) / scales).expand(len(y), -1, -1)
    axes = [g.to(values.device, torch.float64) / s for g, s in zip(grid, scales, strict=True)]
    shape = (len(y), *(len(a) for a in axes))
    mean, variance = y.new_zeros(shape), y.new_full(shape, 1.0 if errors else torch.nan)
    for cut in _tiles([len(a) for a in axes], window.tile):
        corner = [a[c] for a, c in zip(axes, cut, strict=True)]
        chosen = _nearest(x, torch.isfinite(y), corner, window)
        if chosen is None:
            continue
        index, used = chosen
        targets = math.prod(len(c) for c in corner)
        # Matrices of one chunk hold at most 2^24 numbers.
        chunk = max(1, 2**24 // (index.shape[1] * (index.shape[1] + targets)))
        for b in range(0, len(y), chunk):
            rows = slice(b, b + chunk)
            near = x[rows].gather(1, index[rows][..., None].expand(-1, -1, 3))
            known = torch.where(used[rows], y[rows].gather(1, index[rows]), 0.0)
            factor = _factor(near, used[rows], covariance.noise)
            # The covariance with a grid is a product of one factor an axis.
            t, v, h = (torch.exp(-((near[..., i, None] - c) ** 2)) for i, c in enumerate(corner))
            t = torch.where(used[rows][..., None], t, 0.0)
            weights = torch.cholesky_solve(known[..., None], factor)
            plane = (weights[..., None] * t[..., None] * v[:, :, None]).flatten(2)
            mean[(rows, *cut)] = (plane.mT @ h).unflatten(1, (len(corner[0]), -1))
            if errors:
                across = (t[..., None, None] * v[:, :, None, :, None] * h[:, :, None, None]).flatten(2)
                root = torch.linalg.solve_triangular(factor, across, upper=False)
                left = (1 - root.square().sum(1)).clamp_min(0)
                variance[(rows, *cut)] = left.reshape(variance[(rows, *cut)].shape)
    return Analysis(mean.to(values), variance.to(values))


def _factor(near: Tensor, used: Tensor, noise: float) -> Tensor:
    """Cholesky factor of the observations' covariance ``(B, m, m)``; those not used are alone with variance one."""
    pair = used[:, :, None] & used[:, None, :]
    among = torch.where(pair, _gaussian(near, near), 0.0)
    return torch.linalg.cholesky(among + torch.diag_embed(torch.where(used, noise**2, torch.ones_like(near[..., 0]))))


def _gaussian(a: Tensor, b: Tensor) -> Tensor:
    return torch.exp(-torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square())


def _nearest(x: Tensor, known: Tensor, corner: list[Tensor], window: Window) -> tuple[Tensor, Tensor] | None:
    """Indices ``(B, m)`` of the observations of a tile, nearest first, and which of them count; None if there are none."""
    low = torch.stack([c.min() for c in corner])
    high = torch.stack([c.max() for c in corner])
    beyond = torch.maximum(low - x, x - high).clamp_min(0)
    inside = known & (beyond <= window.reach).all(-1)
    count = int(inside.sum(1).max())
    if count == 0:
        return None
    # Observations inside the tile's box are as near as each other: those of its middle go first.
    middle = (x - (low + high) / 2).square().sum(-1)
    distance = torch.where(inside, beyond.square().sum(-1) + 1e-6 * middle, math.inf)
    kept = count if window.most is None else min(count, window.most)
    near, index = distance.topk(kept, dim=1, largest=False)
    return index, torch.isfinite(near)


def _tiles(shape: list[int], tile: tuple[int, int, int]) -> Iterator[tuple[slice, slice, slice]]:
    t, y, x = (
        [slice(i, min(i + n, length)) for i in range(0, length, n)] for length, n in zip(shape, tile, strict=True)
    )
    return ((a, b, c) for a in t for b in y for c in x)

"""Values between the points of a grid, by bilinear interpolation."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from leads.environments import Grid
from leads.errors import SettingsError
from leads.observation.operator import Layout, Operator, operators


@dataclass(frozen=True, eq=False)
class Sampled(Operator):
    """The state at P points of a plane, ``(..., T, C, Y, X)`` to ``(..., T, C, P)``, interpolated bilinearly.

    Neither :meth:`forward` nor what goes back to the grid forms a matrix: memory is that of the values, whatever the size
    of the grid. On a periodic grid the points are taken into the box; on another one that goes from the first to the last
    cell centre they must lie there to be seen.
    """

    def check(self, layout: Layout) -> None:
        if layout.grid is None or len(layout.space) != 2:
            raise SettingsError(
                f"{type(self).__name__} samples a plane with a grid, (C, Y, X); these states are {layout.state_shape}"
                f"{' without one' if layout.grid is None else ''}."
            )

    @abstractmethod
    def positions(self, t: Tensor | None) -> tuple[Tensor, Tensor]:
        """Where the points are at the times ``t (..., T)``: positions ``(..., T, P, 2)`` in the axes' order (y, x) and
        the unit of the grid, counted from the first cell centre, and which of them are in use, ``(..., T, P)``."""

    @property
    @abstractmethod
    def count(self) -> int:
        """P."""

    @property
    def grid(self) -> Grid:
        """Of the states."""
        grid = self.bound.grid
        assert grid is not None  # checked when bound
        return grid

    @property
    def output(self) -> Layout:
        return replace(self.bound, space=(self.count,), grid=None)

    def corners(self, t: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cells around each point and their weights, ``(..., T, 4 P)``, and which points are seen, ``(..., T, P)``.

        The four corners stand one after the other, P cells each.
        """
        where, used = self.positions(t)
        where, used = where.to(like.device), used.to(like.device)
        ny, nx = self.grid.shape
        y, x = (where[..., i] / self.grid.spacing[i] for i in range(2))
        if self.grid.periodic:
            y, x = y % ny, x % nx
        else:
            used = used & (y >= 0) & (y <= ny - 1) & (x >= 0) & (x <= nx - 1)
            y, x = y.clamp(0, ny - 1), x.clamp(0, nx - 1)
        low_y, low_x = y.floor(), x.floor()
        part_y, part_x = y - low_y, x - low_x
        rows = [low_y.long() % ny, (low_y.long() + 1) % ny]
        columns = [low_x.long() % nx, (low_x.long() + 1) % nx]
        weight_y, weight_x = [1 - part_y, part_y], [1 - part_x, part_x]
        both = [(j, i) for j in range(2) for i in range(2)]
        cells = torch.cat([rows[j] * nx + columns[i] for j, i in both], -1)
        weights = torch.cat([weight_y[j] * weight_x[i] for j, i in both], -1)
        return cells, weights.to(like), used

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        cells, weights, _ = self.corners(t, x)
        corners = _pick(x.flatten(-2), cells.unsqueeze(-2)) * weights.unsqueeze(-2)
        return corners.unflatten(-1, (4, -1)).sum(-2)

    def seen(self, mask: Tensor, t: Tensor | None = None) -> Tensor:
        cells, weights, used = self.corners(t, mask.new_zeros((), dtype=torch.float64))
        known = _pick(mask.flatten(-2), cells.unsqueeze(-2)) | (weights == 0).unsqueeze(-2)
        return known.unflatten(-1, (4, -1)).all(-2) & used.unsqueeze(-2)

    def gridded(self, y: Tensor, seen: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weighted means over the points around each cell, seen where there is one."""
        cells, weights, _ = self.corners(t, y)
        lead = torch.broadcast_shapes(y.shape[:-1], cells.unsqueeze(-2).shape[:-1])
        spread = lambda v: v.unsqueeze(-2).expand(*lead, v.shape[-1])  # noqa: E731
        index, weight = spread(cells), spread(weights) * seen.repeat(*(1,) * (seen.ndim - 1), 4).to(y)
        value = torch.where(seen, y, y.new_zeros(())).repeat(*(1,) * (y.ndim - 1), 4)
        nothing = y.new_zeros(*lead, math.prod(self.grid.shape))
        total = nothing.scatter_add(-1, index, weight * value)
        share = nothing.scatter_add(-1, index, weight)
        there = share > 1e-6
        mean = torch.where(there, total / torch.where(there, share, 1.0), 0.0)
        return mean.unflatten(-1, self.grid.shape), there.unflatten(-1, self.grid.shape)

    def back(self, y: Tensor, seen: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.gridded(y, seen, t)


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """``x (..., C, K)`` at ``index (..., 1, M)``, whose leading axes broadcast."""
    lead = torch.broadcast_shapes(x.shape[:-1], index.shape[:-1])
    return x.expand(*lead, x.shape[-1]).gather(-1, index.expand(*lead, index.shape[-1]))


@operators.register("at_points")
@dataclass(frozen=True, eq=False)
class AtPoints(Sampled):
    """Points that stay where they are: moorings, tide gauges.

    Args:
        points: positions ``(P, 2)``, rows (y, x), in the unit of the grid from its first cell centre.

    Raises:
        SettingsError: no points, or not two finite numbers each; when bound, points outside a grid that is not periodic.
    """

    kind = "at_points"
    points: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype="float64")
        if points.ndim != 2 or not len(points) or points.shape[1] != 2 or not np.isfinite(points).all():
            raise SettingsError(f"AtPoints needs positions (P, 2), rows of finite (y, x), got shape {points.shape}.")
        object.__setattr__(self, "points", tuple((float(y), float(x)) for y, x in points))

    def check(self, layout: Layout) -> None:
        super().check(layout)
        grid = layout.grid
        if grid is None or grid.periodic:
            return
        for y, x in self.points:
            if any(not 0 <= v <= (n - 1) * d for v, n, d in zip((y, x), grid.shape, grid.spacing, strict=True)):
                raise SettingsError(
                    f"The point (y, x) = ({y:g}, {x:g}) {grid.unit} lies outside the grid of {grid.shape} cells "
                    f"{grid.spacing} {grid.unit} apart, and it is not periodic."
                )

    @property
    def count(self) -> int:
        return len(self.points)

    def positions(self, t: Tensor | None) -> tuple[Tensor, Tensor]:
        where = torch.tensor(self.points, dtype=torch.float64)
        where = where[None] if t is None else where.to(t.device).expand(*t.shape, *where.shape)
        return where, torch.ones(where.shape[:-1], dtype=torch.bool, device=where.device)

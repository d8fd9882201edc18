"""Where drifters move: a box of metres or a grid of latitudes and longitudes; interpolation and distance there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError
from leads.ocean.scores.checks import spacing

RADIUS = 6.371e6


class Waters(Protocol):
    """A geometry: rates of change of positions, and distances in m."""

    def check(self, ny: int, nx: int) -> None:
        """Raise unless a current of so many rows and columns fits."""

    def rates(self, flow: Tensor, x: Tensor) -> Tensor:
        """Velocity of positions ``x (B, P, 2)`` in ``flow (B, Y, X, 2)``, in the positions' units per second."""

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """In m, of positions ``(..., 2)``."""


@dataclass(frozen=True)
class Box:
    """A plane of metres; position (x, y), the first point of the grid at (0, 0).

    Attributes:
        spacing: of points along y and x, m.
        periodic: positions are not wrapped, so that distances along a path stay true.

    Raises:
        SettingsError: a spacing that is not positive.
    """

    spacing: tuple[float, float]
    periodic: bool = True

    def __post_init__(self) -> None:
        if not all(0 < s < math.inf for s in self.spacing):
            raise SettingsError(f"The spacings of a box must be positive and finite, got {self.spacing}.")

    def check(self, ny: int, nx: int) -> None:
        _two(ny, nx)

    def rates(self, flow: Tensor, x: Tensor) -> Tensor:
        dy, dx = self.spacing
        return bilinear(flow, x[..., 1] / dy, x[..., 0] / dx, (self.periodic, self.periodic))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).norm(dim=-1)


@dataclass(frozen=True)
class Sphere:
    """A uniform grid of latitudes and longitudes, degrees; position (longitude, latitude).

    ``d longitude/dt = u / (R cos latitude)``, ``d latitude/dt = v / R``, R = 6371 km; distances are great circles.

    Attributes:
        latitude, longitude: coordinates of the grid, increasing.

    Raises:
        SettingsError: coordinates that decrease, are not uniform or reach beyond the poles.
    """

    latitude: Tensor
    longitude: Tensor

    def __post_init__(self) -> None:
        for name in ("latitude", "longitude"):
            x = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            if x.ndim != 1:
                raise ShapeError(f"The {name} needs one axis, got shape {tuple(x.shape)}.")
            spacing(x, len(x), name)
            if float(x[1]) < float(x[0]):
                raise SettingsError(f"The {name} must increase; flip the axis of the field and of the coordinate.")
            object.__setattr__(self, name, x)
        if float(self.latitude.abs().max()) > 90:
            raise SettingsError(f"Latitudes lie between -90 and 90, got up to {float(self.latitude.abs().max()):g}.")

    @property
    def periodic(self) -> bool:
        """Whether the longitudes go all the way round."""
        step = float(self.longitude[1] - self.longitude[0])
        return abs(step * len(self.longitude) - 360) < 0.5 * step

    def check(self, ny: int, nx: int) -> None:
        _two(ny, nx)
        if (ny, nx) != (len(self.latitude), len(self.longitude)):
            raise ShapeError(
                f"The current has {ny} rows and {nx} columns, the grid {len(self.latitude)} latitudes and "
                f"{len(self.longitude)} longitudes."
            )

    def rates(self, flow: Tensor, x: Tensor) -> Tensor:
        lat, lon = self.latitude, self.longitude
        row = (x[..., 1] - float(lat[0])) / float((lat[-1] - lat[0]) / (len(lat) - 1))
        column = (x[..., 0] - float(lon[0])) / float((lon[-1] - lon[0]) / (len(lon) - 1))
        speed = bilinear(flow, row, column, (False, self.periodic))
        east = speed[..., 0] / torch.cos(torch.deg2rad(x[..., 1]))
        return torch.stack([east, speed[..., 1]], -1) * (180 / math.pi / RADIUS)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """By the haversine formula, which keeps its digits for neighbours."""
        lon, lat = torch.deg2rad(a).unbind(-1)
        other_lon, other_lat = torch.deg2rad(b).unbind(-1)
        half = torch.sin((lat - other_lat) / 2).square()
        half = half + torch.cos(lat) * torch.cos(other_lat) * torch.sin((lon - other_lon) / 2).square()
        return 2 * RADIUS * torch.asin(half.clamp(0, 1).sqrt())


def bilinear(flow: Tensor, row: Tensor, column: Tensor, periodic: tuple[bool, bool]) -> Tensor:
    """Values of ``flow (B, Y, X, C)`` at fractional rows and columns ``(B, P)``: ``(B, P, C)``.

    NaN outside an axis that is not periodic, and where one of the four neighbours with weight is NaN.
    """
    ny, nx = flow.shape[1:3]
    ends = [_neighbours(at, n, p) for at, n, p in zip((row, column), (ny, nx), periodic, strict=True)]
    (r0, r1, fr, out_r), (c0, c1, fc, out_c) = ends
    flat = flow.flatten(1, 2)
    total = flow.new_zeros((*row.shape, flow.shape[-1]))
    for r, wr in ((r0, 1 - fr), (r1, fr)):
        for c, wc in ((c0, 1 - fc), (c1, fc)):
            weight = (wr * wc)[..., None]
            value = flat.gather(1, (r * nx + c)[..., None].expand(*row.shape, flow.shape[-1]))
            total = total + torch.where(weight > 0, weight * value, torch.zeros_like(value))
    return torch.where((out_r | out_c)[..., None], torch.nan, total)


def _neighbours(at: Tensor, n: int, periodic: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index below and above, share of the one above, and whether the place lies outside."""
    lost = torch.isnan(at)
    at = torch.where(lost, torch.zeros_like(at), at)
    # Places a rounding error beyond the last point belong to it.
    slack = 1e-9 * n
    outside = lost if periodic else lost | (at < -slack) | (at > n - 1 + slack)
    if periodic:
        low = torch.floor(at)
        index = low.long().remainder(n)
        return index, (index + 1).remainder(n), at - low, outside
    low = torch.floor(at).clamp(0, n - 2)
    return low.long(), low.long() + 1, (at - low).clamp(0, 1), outside


def _two(ny: int, nx: int) -> None:
    if ny < 2 or nx < 2:
        raise ShapeError(f"Drifters need a grid of at least 2 x 2 points, got {ny} x {nx}.")

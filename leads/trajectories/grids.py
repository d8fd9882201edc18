"""Coordinates of files as a uniform grid, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from leads.environments import Grid
from leads.errors import DataError
from leads.trajectories.trajectories import Trajectories

#: Attribute that keeps the coordinate of the first cell, which a :class:`Grid` counts from zero.
ORIGIN = "grid_origin"


def uniform_grid(
    axes: dict[str, np.ndarray], path: Path | str, unit: str, periodic: bool
) -> tuple[Grid, dict[str, Any]]:
    """The grid with these cell centres, and its origin as an attribute where it is not zero.

    An axis of a single cell has no spacing; it is given 1.

    Raises:
        DataError: an axis is not uniform (to a thousandth of its spacing and the rounding of its numbers) or does
            not increase.
    """
    spacing = []
    for name, raw in axes.items():
        x = np.asarray(raw, dtype="float64")
        step = (x[-1] - x[0]) / (len(x) - 1) if len(x) > 1 else 1.0
        rounding = 4 * np.finfo(raw.dtype if raw.dtype.kind == "f" else "float64").eps * np.abs(x).max()
        off = float(np.abs(np.diff(x) - step).max()) if len(x) > 1 else 0.0
        if not (np.isfinite(x).all() and step > 0 and off <= 1e-3 * step + rounding):
            raise DataError(
                f"The coordinates {name} of {path} are not a uniform increasing grid (steps of about {step:g} vary by "
                f"{off:g}). Interpolate them, or pass ignore_grid=True to read the states without a grid."
            )
        spacing.append(float(step))
    grid = Grid(tuple(len(x) for x in axes.values()), tuple(spacing), tuple(axes), unit, periodic)
    origin = [float(x[0]) for x in axes.values()]
    return grid, {ORIGIN: origin} if any(origin) else {}


def cell_centres(data: Trajectories) -> list[np.ndarray]:
    """Coordinates along each space axis, float64; the numbers of the cells where the data have no grid."""
    if data.grid is None:
        return [np.arange(n, dtype="float64") for n in data.states.shape[4:]]
    origin = data.attributes.get(ORIGIN, [0.0] * len(data.grid.shape))
    return [data.grid.coordinates(i).numpy() + origin[i] for i in range(len(data.grid.shape))]

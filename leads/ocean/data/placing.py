"""Where windows lie: rows and columns of the data set, by the boxes, strides and least share of sea of a spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import DataError, SettingsError
from leads.ocean.data.axes import spacing, wrapped
from leads.ocean.data.opening import label
from leads.ocean.data.regions import Box, Regions

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Place:
    """One window: its name and the rows and columns of the data set that it has."""

    name: str
    rows: np.ndarray
    columns: np.ndarray
    longitude: np.ndarray


def places(dataset: xarray.Dataset, spec: Regions, sea: np.ndarray) -> list[Place]:
    """The windows with enough sea.

    Args:
        sea: ``True`` where every quantity was ever observed, ``(latitude, longitude)``.

    Raises:
        DataError: no window has enough sea, a box holds no window, or axes are not equally spaced.
    """
    found: list[Place] = []
    best = 0.0
    latitude, x = (dataset[a].values.astype("float64") for a in ("latitude", "longitude"))
    steps = spacing(dataset, "latitude"), _around(dataset, x)
    for box in spec.boxes or (None,):
        rows, columns, longitude = _inside(box, latitude, x)
        if box is not None and not (len(rows) and len(columns)):
            raise DataError(
                f"{label(dataset)}: the box {box.name} ({box.south:g} to {box.north:g} north, {box.west:g} to {box.east:g} east) holds no cell: "
                f"latitude is from {latitude[0]:g} to {latitude[-1]:g}, longitude from {x[0]:g} to {x[-1]:g}. Move the box, or read that region."
            )
        size = (len(rows), len(columns)) if spec.window is None else _cells(spec.window, spec.unit, steps)
        stride = _stride(spec, size, steps)
        if size[0] > len(rows) or size[1] > len(columns) or min(size) < 2 or min(stride) < 1:
            where = "The data set" if box is None else f"The box {box.name}"
            raise DataError(
                f"{label(dataset)}: {where} has {len(rows)} x {len(columns)} cells, and windows of {size[0]} x {size[1]} with stride "
                f"{stride[0]} x {stride[1]} do not fit. Give smaller windows, of at least 2 x 2."
            )
        prefix = "" if box is None else f"{box.name} "
        whole = spec.window is None
        taken = np.zeros((len(rows), len(columns)), dtype=bool)
        shares = _shares(sea[np.ix_(rows, columns)], size)
        best = max(best, float(shares[:: stride[0], :: stride[1]].max()))
        for i in range(0, len(rows) - size[0] + 1, stride[0]):
            for j in range(0, len(columns) - size[1] + 1, stride[1]):
                own = slice(i, i + size[0]), slice(j, j + size[1])
                if shares[i, j] < spec.sea - 1e-9 or (spec.packed and taken[own].any()):
                    continue
                taken[own] = True
                r, c = rows[own[0]], columns[own[1]]
                lon = longitude[j : j + size[1]]
                name = box.name if whole and box is not None else f"{prefix}{_place(latitude[r].mean(), lon.mean())}"
                found.append(Place(name, r, c, lon))
    if not found:
        raise DataError(
            f"{label(dataset, ', '.join(map(str, dataset.data_vars)))}: no window is at least {spec.sea:.0%} sea; the best has {best:.0%}"
            f"{' (all land, or nothing was ever observed)' if best == 0 else ''}. Lower sea=, take smaller windows, or move the boxes."
        )
    shapes = {(len(p.rows), len(p.columns)) for p in found}
    if len(shapes) > 1:
        raise DataError(
            f"The boxes have {', '.join(f'{a} x {b}' for a, b in sorted(shapes))} cells, and environments of one set share their shape. Give "
            "boxes of one size, or a window."
        )
    return found


def _stride(spec: Regions, size: tuple[int, int], steps: tuple[float, float]) -> tuple[int, int]:
    if spec.stride is None:
        return (1, 1) if spec.packed else size
    return _cells(spec.stride, spec.unit, steps)


def _shares(sea: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Share of sea of the window that starts at each cell, by sums over rectangles."""
    total = np.pad(sea.astype("float64").cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    a, b = size
    return (total[a:, b:] - total[:-a, b:] - total[a:, :-b] + total[:-a, :-b]) / (a * b)


def _around(dataset: xarray.Dataset, x: np.ndarray) -> float:
    """Spacing of longitudes, also of a set that was read around the date line with a gap where it has no data."""
    try:
        return spacing(dataset, "longitude")
    except DataError:
        if len(x) < 3:
            raise
        cut = int(np.argmax(np.diff(x))) + 1
        return spacing(dataset.assign_coords(longitude=wrapped(x, x[cut])).sortby("longitude"), "longitude")


def _inside(box: Box | None, latitude: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of a box, west to east, and the longitudes of the columns, increasing."""
    if box is None:
        gaps = np.diff(x)
        cut = int(np.argmax(gaps)) + 1 if len(x) > 2 and gaps.max() > 1.5 * np.median(gaps) else 0
        columns = np.roll(np.arange(len(x)), -cut)
        return np.arange(len(latitude)), columns, wrapped(x[columns], x[cut]) if cut else x
    edge = 1e-6
    rows = np.flatnonzero((latitude >= box.south - edge) & (latitude <= box.north + edge))
    width = (box.east - box.west) % 360 or 360.0
    moved = wrapped(x, box.west - edge)
    columns = np.flatnonzero(moved <= box.west + width + edge)
    columns = columns[np.argsort(moved[columns])]
    return rows, columns, moved[columns]


def _cells(size: Any, unit: str, steps: tuple[float, float]) -> tuple[int, int]:
    try:
        pair = (float(size), float(size)) if np.ndim(size) == 0 else tuple(float(s) for s in size)
    except (TypeError, ValueError):
        pair = ()
    if len(pair) != 2:
        raise SettingsError(f"A window or stride is one number or two (rows, columns), got {size!r}.")
    if unit == "degrees":
        return round(pair[0] / steps[0]), round(pair[1] / steps[1])
    return int(pair[0]), int(pair[1])


def _place(latitude: float, longitude: float) -> str:
    longitude = (longitude + 180) % 360 - 180
    return f"{abs(latitude):.2f}{'N' if latitude >= 0 else 'S'} {abs(longitude):.2f}{'E' if longitude >= 0 else 'W'}"

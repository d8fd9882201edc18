"""A declarative spec of what is an environment: boxes, windows, strides, seasons, the least share of sea."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import DataError, SettingsError, UnknownNameError
from leads.ocean.data.axes import spacing, wrapped
from leads.ocean.data.opening import label
from leads.ocean.data.windows import SECONDS
from leads.registry import nearest

if TYPE_CHECKING:
    import xarray

#: Months of the meteorological seasons.
SEASONS = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}
_GAPS = ("error", "fill", "split")


@dataclass(frozen=True)
class Box:
    """A part of the sphere in degrees, edges included; ``west > east`` crosses the date line (170 to -170)."""

    name: str
    south: float
    north: float
    west: float
    east: float

    def __post_init__(self) -> None:
        if not -90 <= self.south < self.north <= 90:
            raise SettingsError(
                f"The box {self.name} needs -90 <= south < north <= 90, got {self.south} and {self.north}."
            )


@dataclass(frozen=True)
class Regions:
    """How a data set is cut into environments.

    Attributes:
        window: rows and columns of a window, one number or two; ``None``: every box is a window.
        stride: from one window to the next; by default the window, so that none overlap.
        unit: of both, ``"cells"`` or ``"degrees"``.
        packed: place windows wherever there is enough sea, at any multiple of ``stride`` (then one cell by default), none
            over another, row by row from the south-west. A fixed raster loses what lies across its lines.
        boxes: where windows lie, from the south-west corner of each; by default everywhere.
        sea: least share of a window's cells in which every quantity was ever observed.
        quantities: which are channels, in this order; by default all.
        periods: dates ``(start, end)``, both included, between which frames count; by default all.
        seasons: of :data:`SEASONS`; frames of other months do not count.
        apart: whether each season is an environment of its own rather than trajectories of one.
        frames: of a trajectory (0: a whole period, or season of a year).
        every: frames between the starts of two trajectories; by default ``frames``.
        gaps: what to do where dates are missing: ``"error"``, ``"fill"`` (frames that are not observed) or ``"split"``
            (a trajectory ends there).
        time_unit: of the trajectories' times, ``"s"`` as in all families of leads, or ``"day"``.
        probe: frames, evenly spread, on which land is told from sea (0: all).
        chunks: windows that are loaded at once where a set is written to a store.
    """

    window: Any = None
    stride: Any = None
    unit: str = "cells"
    packed: bool = False
    boxes: tuple[Box, ...] = ()
    sea: float = 0.8
    quantities: tuple[str, ...] = ()
    periods: tuple[tuple[str, str], ...] = ()
    seasons: tuple[str, ...] = ()
    apart: bool = True
    frames: int = 0
    every: int = 0
    gaps: str = "error"
    time_unit: str = "s"
    probe: int = 0
    chunks: int = 16

    def __post_init__(self) -> None:
        for what, value, known in (
            ("unit of windows", self.unit, ("cells", "degrees")),
            ("treatment of gaps", self.gaps, _GAPS),
            ("unit of time", self.time_unit, tuple(SECONDS)),
            *(("season", s, tuple(SEASONS)) for s in self.seasons),
        ):
            if value not in known:
                raise UnknownNameError(f"No {what} is named {value!r}. {nearest(str(value), known)}")
        if self.window is None and not self.boxes:
            raise SettingsError("Regions need a window, e.g. Regions(window=24), or boxes that are windows themselves.")
        if not 0 < self.sea <= 1 or min(self.frames, self.every, self.probe) < 0 or self.frames == 1 or self.chunks < 1:
            raise SettingsError(
                f"Regions need 0 < sea <= 1, frames 0 or >= 2, every and probe >= 0, chunks >= 1; got {self}."
            )


@dataclass(frozen=True)
class Place:
    """One window: its name and the rows and columns of the data set that it has."""

    name: str
    rows: np.ndarray
    columns: np.ndarray
    longitude: np.ndarray


@dataclass(frozen=True)
class Times:
    """One group of trajectories: for each the numbers of its frames ``(N, T)``, -1 where the date is missing."""

    name: str
    frames: np.ndarray
    began: np.ndarray


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


def groups(dataset: xarray.Dataset, spec: Regions) -> list[Times]:
    """The trajectories in time: one group, or one a season.

    Raises:
        DataError: missing dates (with ``gaps="error"``), frames that are not equally far apart, no frame in the periods,
            or periods of different lengths without ``frames``.
    """
    dates = dataset["time"].values
    if len(dates) < 2:
        raise DataError(
            f"{label(dataset, 'time')} has {len(dates)} frame; trajectories need at least two. Read more files."
        )
    steps = np.diff(dates) / np.timedelta64(1, "s")
    step = float(np.median(steps))
    position = np.concatenate([[0], np.cumsum(np.round(steps / step))]).astype(int)
    off = np.abs(steps / step - np.round(steps / step))
    if off.max() > 0.11 or (np.diff(position) < 1).any():
        i = int(off.argmax())
        raise DataError(
            f"{label(dataset, 'time')}: frames are {step / 86400:g} days apart, but {str(dates[i])[:19]} and {str(dates[i + 1])[:19]} are "
            f"{steps[i] / 86400:g}. Interpolate in time, dataset.interp(time=...), or resample, dataset.resample(time='1D').mean()."
        )
    runs: dict[str, list[np.ndarray]] = {}
    for name, frames in _parts(dates, spec):
        for run in _runs(dataset, dates, position, frames, spec.gaps):
            runs.setdefault(name, []).append(run)
    if not runs:
        raise DataError(
            f"{label(dataset, 'time')}: no frame lies in periods {spec.periods or 'all'} and seasons {spec.seasons or 'all'}; the data are "
            f"from {str(dates[0])[:10]} to {str(dates[-1])[:10]}."
        )
    return [_cut(dataset, dates, name, own, spec, step) for name, own in runs.items()]


def _parts(dates: np.ndarray, spec: Regions) -> list[tuple[str, np.ndarray]]:
    """Frames by period and season, each season of each year apart."""
    month = dates.astype("datetime64[M]").astype(int) % 12 + 1
    parts = []
    for start, end in spec.periods or ((None, None),):
        inside = np.ones(len(dates), dtype=bool)
        if start is not None:
            inside &= dates >= np.datetime64(start)
        if end is not None:
            inside &= dates < np.datetime64(end, "D") + np.timedelta64(1, "D")
        if not spec.seasons:
            parts.append(("", np.flatnonzero(inside)))
            continue
        for season in spec.seasons:
            frames = np.flatnonzero(inside & np.isin(month, SEASONS[season]))
            # Months 12, 1, 2 of one winter are neighbours; a jump of more than one month is another year.
            months = dates[frames].astype("datetime64[M]").astype(int)
            for run in np.split(frames, np.flatnonzero(np.diff(months) > 1) + 1):
                parts.append((season if spec.apart else "", run))
    return [(name, frames) for name, frames in parts if len(frames)]


def _runs(
    dataset: xarray.Dataset, dates: np.ndarray, position: np.ndarray, frames: np.ndarray, gaps: str
) -> list[np.ndarray]:
    """Frames without missing dates, or with -1 where one is missing."""
    jumps = np.flatnonzero(np.diff(position[frames]) > 1)
    if not len(jumps):
        return [frames]
    if gaps == "split":
        return np.split(frames, jumps + 1)
    if gaps == "error":
        a, b = dates[frames[jumps[0]]], dates[frames[jumps[0] + 1]]
        raise DataError(
            f"{label(dataset, 'time')}: {len(jumps)} gap(s), the first from {str(a)[:10]} to {str(b)[:10]}. Add the missing files, or say gaps='fill' "
            "(frames that are not observed) or gaps='split' (trajectories end there)."
        )
    out = np.full(int(position[frames[-1]] - position[frames[0]]) + 1, -1)
    out[position[frames] - position[frames[0]]] = frames
    return [out]


def _cut(
    dataset: xarray.Dataset, dates: np.ndarray, name: str, runs: list[np.ndarray], spec: Regions, step: float
) -> Times:
    lengths = sorted({len(r) for r in runs})
    frames = spec.frames or lengths[0]
    if not spec.frames and len(lengths) > 1:
        raise DataError(
            f"{label(dataset, 'time')}: the periods{' of ' + name if name else ''} have {', '.join(map(str, lengths))} frames, and trajectories of one "
            f"set share their length. Say frames={lengths[0]} or less."
        )
    every = spec.every or frames
    rows = [run[k : k + frames] for run in runs for k in range(0, len(run) - frames + 1, every)]
    if not rows or frames < 2:
        raise DataError(
            f"{label(dataset, 'time')}: no period{' of ' + name if name else ''} has {max(frames, 2)} frames; the longest has {lengths[-1]}. Give fewer frames="
            ", or longer periods."
        )
    table = np.stack(rows)
    first = (table >= 0).argmax(1)
    known = dates[table[np.arange(len(table)), first]]
    return Times(name, table, (known - (first * step * 1e9).astype("timedelta64[ns]")).astype("datetime64[ns]"))


def step_of(dataset: xarray.Dataset) -> float:
    """Seconds between two frames."""
    return float(np.median(np.diff(dataset["time"].values) / np.timedelta64(1, "s")))


def describe(spec: Regions) -> Mapping[str, Any]:
    """The spec as JSON can hold it."""
    return {k: (list(map(vars, v)) if k == "boxes" else v) for k, v in vars(spec).items()}

"""When trajectories are: frames of the data set, by the periods, seasons and gaps of a spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leads.errors import DataError
from leads.ocean.data.opening import label
from leads.ocean.data.regions import SEASONS, Regions

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Times:
    """One group of trajectories: for each the numbers of its frames ``(N, T)``, -1 where the date is missing."""

    name: str
    frames: np.ndarray
    began: np.ndarray


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

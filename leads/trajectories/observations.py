"""Observations as people have them, on one time grid: lists, data frames and datasets of unequal lengths and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from leads.environments import Channel
from leads.errors import DataError, SettingsError, ShapeError
from leads.trajectories.records import Record, collect
from leads.trajectories.times import TIME_ORIGIN, TIME_UNITS
from leads.trajectories.trajectories import Trajectories

#: Attributes in which the names of environments are kept, and the times at which trajectories began.
NAMES, BEGAN = "environments", "began"
#: Times nearer to each other than this share of the whole span are one.
SAME = 1e-9


def from_observations(
    observations: Any,
    *,
    channels: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    align: Literal["start"] | None = None,
    parameters: Any = None,
    time: str = "time",
    environment: str = "environment",
    trajectory: str = "trajectory",
) -> Trajectories:
    """Trajectories from observations of any lengths, start times and sampling, with NaN where something is missing.

    All times that occur become one grid; what a trajectory did not observe at a time is masked (and NaN). Environments
    with fewer trajectories than others are filled up with ones that are masked throughout. ``adapt(...,
    initial="estimated")`` takes such data as they are; ``initial="given"`` needs first frames that are observed, which
    ``align="start"`` gives.

    Fields keep their space axes and lose the coordinates of these: where all frames share one clock,
    :func:`leads.trajectories.from_xarray` reads the grid too.

    A finer grid means smaller steps of fixed-step methods, so a model that was trained as a map from frame to frame (one
    coarse step between two) forecasts a little differently on it.

    Args:
        observations: one of

            - a pandas ``DataFrame`` with a column of times, one a channel, and optionally columns that name the
              environment and the trajectory of a row;
            - an ``xarray.Dataset`` with the dimension ``time`` and optionally ``environment``, ``trajectory`` and space
              axes;
            - a list (or a mapping from names) of environments, each of them one of the two above, a pair ``(times,
              values)``, or a list of such pairs, one a trajectory; values are ``(T, C, *X)``, or ``(T,)`` of one channel.
        channels: which columns or variables to read, in this order; for pairs, names of the channels. By default all
            columns of numbers, in the order of the first environment.
        units: of channels, by name; those of an ``xarray.Dataset`` are kept.
        align: ``"start"`` counts the times of every trajectory from its first observed frame, as is right for fields
            that do not depend on time; ``attributes["began"]`` keeps ``(E, N)`` starts.
        parameters: true parameters ``(E, P)`` where known.
        time, environment, trajectory: names of columns, or of the dimensions and coordinates of a dataset.

    Returns:
        States in float64, with a mask where anything is missing. Dates and durations become seconds since the first one
        (``attributes["time_origin"]`` keeps it), and ``attributes["environments"]`` keeps the names of environments.

    Raises:
        DataError: nothing is there; times out of order or missing, duplicate times with values that differ, values that
            are infinite or no numbers; the environment and the row are named.
        UnknownNameError: a channel or column that is not there. ShapeError: values that do not fit their times or each
            other. SettingsError: another ``align``, or ``units`` of something that is no channel.
    """
    if align not in (None, "start"):
        raise SettingsError(f"align is 'start' or None, got {align!r}.")
    named, found, attributes = collect(
        observations, channels, {"time": time, "environment": environment, "trajectory": trajectory}
    )
    unknown = [n for n in units or {} if n not in [c.name for c in found]]
    if unknown:
        raise SettingsError(
            f"units names {unknown[0]!r}, which is no channel; the channels are {[c.name for c in found]}."
        )
    if units:
        found = tuple(Channel(c.name, units.get(c.name, c.unit), c.long_name) for c in found)
    environments = [[_in_order(r) for r in records] for records in named.values()]
    origin = _origin(environments)
    environments = [[r.since(origin) for r in records] for records in environments]
    if origin is not None:
        attributes[TIME_ORIGIN] = str(origin)
        attributes.pop(TIME_UNITS, None)
    if align == "start":
        starts = [[r.start() for r in records] for records in environments]
        longest = max(map(len, starts))
        attributes[BEGAN] = [row + [None] * (longest - len(row)) for row in starts]
        environments = [
            [r.shifted(s) for r, s in zip(rs, row, strict=True)] for rs, row in zip(environments, starts, strict=True)
        ]
    states, times = _on_one_grid(environments)
    mask = np.isfinite(states)
    return Trajectories(
        torch.from_numpy(states),
        torch.from_numpy(times),
        None if parameters is None else torch.as_tensor(np.array(parameters)).double(),
        None if mask.all() else torch.from_numpy(mask),
        channels=found,
        attributes={**attributes, NAMES: list(named)},
    )


def _in_order(record: Record) -> Record:
    """The record with duplicate times merged.

    Raises:
        DataError: a time that is missing or earlier than the one before, or two different values at one time.
    """
    times = record.times
    if times.dtype.kind in "mM":
        missing, steps = np.isnat(times), np.diff(times) / np.timedelta64(1, "s")
    else:
        missing, steps = ~np.isfinite(times), np.diff(times)
    if missing.any():
        row = int(missing.argmax())
        raise DataError(f"{record.where(row)}: the time is missing or infinite. Give it, or leave that row out.")
    if (steps < 0).any():
        row = int((steps < 0).argmax()) + 1
        raise DataError(
            f"{record.where(row)}: the time {times[row]} follows {times[row - 1]}. Sort the rows by time, or name the column that "
            "tells trajectories apart."
        )
    infinite = np.isinf(record.values).reshape(len(times), -1).any(1)
    if infinite.any():
        raise DataError(f"{record.where(int(infinite.argmax()))}: a value is infinite. Mark it as missing by NaN.")
    if not (steps == 0).any():
        return record
    values, keep = record.values.copy(), np.ones(len(times), dtype=bool)
    last = 0
    for row in range(1, len(times)):
        if times[row] != times[last]:
            last = row
            continue
        both = np.isfinite(values[last]) & np.isfinite(values[row])
        if (values[last][both] != values[row][both]).any():
            raise DataError(
                f"{record.where(row)}: the time {times[row]} comes twice with different values. Keep one of the rows, average "
                "them, or name the column that tells trajectories apart."
            )
        values[last] = np.where(np.isfinite(values[last]), values[last], values[row])
        keep[row] = False
    return record.kept(times[keep], values[keep])


def _origin(environments: list[list[Record]]) -> Any:
    """The first date or duration of all, or ``None`` where times are numbers."""
    kinds = {r.times.dtype.kind for rs in environments for r in rs}
    if not kinds & {"m", "M"}:
        return None
    if len(kinds) > 1:
        raise DataError("Some times are dates, others are numbers or durations. Give all in one way.")
    return min(r.times[0] for rs in environments for r in rs)


def _on_one_grid(environments: list[list[Record]]) -> tuple[np.ndarray, np.ndarray]:
    """States ``(E, N, T, C, *X)`` with NaN where nothing was observed, and the times ``(T,)`` of all records."""
    records = [r for rs in environments for r in rs]
    shapes = {r.values.shape[1:] for r in records}
    if len(shapes) > 1:
        first = records[0]
        other = next(r for r in records if r.values.shape[1:] != first.values.shape[1:])
        raise ShapeError(
            f"{other.where()}: states have the shape {other.values.shape[1:]}, those of {first.where()} {first.values.shape[1:]}."
        )
    every = np.unique(np.concatenate([r.times for r in records]))
    least = SAME * max(float(every[-1] - every[0]), float(np.abs(every).max()))
    times = every[np.concatenate([[True], np.diff(every) > least])]
    longest = max(map(len, environments))
    states = np.full((len(environments), longest, len(times), *shapes.pop()), np.nan)
    for e, rs in enumerate(environments):
        for n, r in enumerate(rs):
            # Rounding may put a time just after the grid's: the grid point at or before it, within the tolerance.
            states[e, n, np.searchsorted(times, r.times + least, side="right") - 1] = r.values
    return states, times

"""One trajectory's observations, read from lists, data frames and datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from leads.environments import Channel
from leads.errors import DataError, ShapeError, UnknownNameError
from leads.registry import nearest
from leads.trajectories.dataset import OBSERVED

#: Columns of a table: what is the time, the environment and the trajectory.
Columns = Mapping[str, str]
Named = dict[str, list["Record"]]


@dataclass(frozen=True)
class Record:
    """Times ``(T,)`` and values ``(T, C, *X)`` of one trajectory, NaN where missing.

    Attributes:
        environment, trajectory: their names.
        rows: the numbers of the rows in what was given, for messages.
    """

    environment: str
    trajectory: str
    times: np.ndarray
    values: np.ndarray
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))

    def where(self, row: int | None = None) -> str:
        """How messages name this trajectory, or one of its rows."""
        name = f"Environment {self.environment}, trajectory {self.trajectory}"
        return name if row is None else f"{name}, row {self.rows[row] if len(self.rows) else row}"

    def kept(self, times: np.ndarray, values: np.ndarray) -> Record:
        """The same trajectory with other rows."""
        return replace(self, times=times, values=values, rows=np.zeros(0, dtype=int))

    def since(self, origin: Any) -> Record:
        """Dates and durations as seconds since ``origin``; numbers as they are."""
        if origin is None:
            return replace(self, times=self.times.astype("float64"))
        return replace(self, times=(self.times - origin) / np.timedelta64(1, "s"))

    def start(self) -> float:
        """Time of the first row with an observed value; of the first row where there is none."""
        seen = np.isfinite(self.values).reshape(len(self.times), -1).any(1)
        return float(self.times[seen.argmax()])

    def shifted(self, start: float) -> Record:
        """From ``start`` on, and counted from there."""
        keep = self.times >= start
        return self.kept(self.times[keep] - start, self.values[keep])


def collect(
    observations: Any, channels: Sequence[str] | None, columns: Columns
) -> tuple[Named, tuple[Channel, ...], dict[str, Any]]:
    """The records of every environment by its name, the channels, and attributes.

    Raises:
        DataError: nothing is there, or something that cannot be read. UnknownNameError, ShapeError: see
            :func:`leads.trajectories.from_observations`.
    """
    reader = _Reader(channels, columns)
    named: Named = {}
    if _table(observations) is not None:
        for record in reader.read(observations, None):
            named.setdefault(record.environment, []).append(record)
    else:
        if isinstance(observations, Mapping):
            items = [(str(k), v) for k, v in observations.items()]
        elif isinstance(observations, (list, tuple)):
            items = [(str(i), v) for i, v in enumerate(observations)]
        else:
            raise DataError(
                f"Observations are a DataFrame, a Dataset, or a list or mapping of environments; got {type(observations).__name__}."
            )
        for name, one in items:
            named[name] = reader.read(one, name)
    empty = [name for name, records in named.items() if not records]
    if not named or empty:
        raise DataError(f"Environment {empty[0]} has no observations." if empty else "There are no observations.")
    return named, reader.channels(named), reader.attributes


def _table(one: Any) -> str | None:
    """What kind of table something is, by the library that it comes from, which is then imported already."""
    for kind in type(one).__mro__:
        if kind.__name__ == "DataFrame" and kind.__module__.startswith("pandas"):
            return "frame"
        if kind.__name__ == "Dataset" and kind.__module__.startswith("xarray"):
            return "dataset"
    return None


class _Reader:
    """Reads environments one after the other; the first says which channels there are."""

    def __init__(self, channels: Sequence[str] | None, columns: Columns) -> None:
        self.names = None if channels is None else [str(c) for c in channels]
        self.given = channels is not None
        self.columns = columns
        self.specs: dict[str, Channel] = {}
        self.attributes: dict[str, Any] = {}

    def channels(self, named: Named) -> tuple[Channel, ...]:
        if self.names is None:
            return ()
        one = next(iter(named.values()))[0]
        if len(self.names) != one.values.shape[1]:
            raise ShapeError(f"{len(self.names)} channels are named, {one.where()} has {one.values.shape[1]}.")
        return tuple(self.specs.get(n, Channel(n)) for n in self.names)

    def read(self, one: Any, name: str | None) -> list[Record]:
        """The records of one environment called ``name``, or of all environments in a table."""
        read: dict[str | None, Callable[[Any, str | None], list[Record]]] = {
            "frame": self._frame,
            "dataset": self._dataset,
            None: self._pairs,
        }
        return read[_table(one)](one, name)

    def _pairs(self, one: Any, name: str | None) -> list[Record]:
        pairs = [one] if _is_pair(one) else one
        if not isinstance(pairs, (list, tuple)) or not all(_is_pair(p) for p in pairs):
            raise DataError(
                f"Environment {name}: expected a DataFrame, a Dataset, a pair (times, values) or a list of pairs, got "
                f"{type(one).__name__}."
            )
        records = []
        for n, (times, values) in enumerate(pairs):
            t, x = (
                _times(times, f"Environment {name}, trajectory {n}"),
                _floats(values, f"Environment {name}, trajectory {n}"),
            )
            x = x[:, None] if x.ndim == 1 else x
            if t.ndim != 1 or x.ndim < 2 or len(t) != len(x):
                raise ShapeError(
                    f"Environment {name}, trajectory {n}: times need shape (T,) and values (T, C, *X), got {t.shape} and {x.shape}."
                )
            if not len(t):
                raise DataError(f"Environment {name}, trajectory {n} is empty: it has no times.")
            records.append(Record(str(name), str(n), t, x, np.arange(len(t))))
        return records

    def _frame(self, one: Any, name: str | None) -> list[Record]:
        have, about = [str(c) for c in one.columns], "The table" if name is None else f"Environment {name}"
        time, by_environment, by_trajectory = (self.columns[k] for k in ("time", "environment", "trajectory"))
        if time not in have:
            raise UnknownNameError(f"{about} has no column {time!r} of times. {nearest(time, have)} Say time=.")
        ids = [c for c in (by_environment, by_trajectory) if c in have]
        numbers = [c for c in have if c not in (time, *ids) and one[c].dtype.kind in "fiu"]
        self._agree(numbers, have, about)
        assert self.names is not None
        if not len(one):
            raise DataError(f"{about} is empty: it has no rows.")
        if not self.names:
            raise DataError(f"{about} has no column of numbers beside the times.")
        rows = np.arange(len(one))
        groups: dict[tuple[str, str], list[int]] = {}
        labels = [one[c].to_numpy() if c in have else None for c in (by_environment, by_trajectory)]
        for row in rows:
            e, n = ("0" if x is None else str(x[row]) for x in labels)
            groups.setdefault((e if name is None else name, n), []).append(int(row))
        times = _times(one[time].to_numpy(), about)
        values = np.stack([_floats(one[c].to_numpy(), f"{about}, column {c}") for c in self.names], 1)
        return [Record(e, n, times[r], values[r], rows[r]) for (e, n), r in groups.items()]

    def _dataset(self, one: Any, name: str | None) -> list[Record]:
        about = "The dataset" if name is None else f"Environment {name}"
        time, by_environment, by_trajectory = (self.columns[k] for k in ("time", "environment", "trajectory"))
        if time not in one.dims or time not in one.coords:
            raise UnknownNameError(
                f"{about} has no dimension {time!r} with a coordinate. {nearest(time, map(str, one.dims))}"
            )
        new = [d for d in (by_environment, by_trajectory) if d not in one.dims]
        one = one.drop_vars(new, errors="ignore").expand_dims(new) if new else one
        able = [str(n) for n, v in one.data_vars.items() if time in v.dims and v.dtype.kind in "fiu"]
        masks = {n + OBSERVED: n for n in able if n + OBSERVED in one.data_vars}
        one = one.assign({n: one[n].where(one[m] != 0) for m, n in masks.items()}).drop_vars(list(masks))
        able = [n for n in able if n not in masks]
        self._agree(able, [str(n) for n in one.data_vars], about)
        assert self.names is not None
        if not self.names:
            raise DataError(f"{about} has no variable of numbers along {time!r}.")
        lead = (by_environment, by_trajectory, time)
        axes = [str(d) for d in one[self.names[0]].dims if d not in lead]
        for n in self.names:
            if {*map(str, one[n].dims)} != {*lead, *axes}:
                raise ShapeError(
                    f"{about}: {n} has the dimensions {one[n].dims}, {self.names[0]} has {(*lead, *axes)}."
                )
            attrs = one[n].attrs
            self.specs.setdefault(n, Channel(n, str(attrs.get("units", "1")), str(attrs.get("long_name", ""))))
        if isinstance(one[time].attrs.get("units"), str):
            self.attributes["time_units"] = one[time].attrs["units"]
        values = np.stack([_floats(one[n].transpose(*lead, *axes).values, n) for n in self.names], 3)
        times = _times(one[time].values, about)
        names = _labels(one, by_environment) if name is None else [name] * one.sizes[by_environment]
        return [
            Record(e, n, times, values[i, j], np.arange(len(times)))
            for i, e in enumerate(names)
            for j, n in enumerate(_labels(one, by_trajectory))
        ]

    def _agree(self, numbers: list[str], have: list[str], about: str) -> None:
        """Take the channels from the first table, and hold the later ones to them."""
        if self.names is None:
            self.names = numbers
        missing = [n for n in self.names if n not in have]
        if missing:
            raise UnknownNameError(
                f"{about} has no channel {missing[0]!r}. {nearest(missing[0], have)} Where it was not observed, give NaN."
            )
        extra = [n for n in numbers if n not in self.names]
        if extra and not self.given:
            raise UnknownNameError(
                f"{about} has the channel {extra[0]!r}, which the first environment has not. {nearest(extra[0], self.names)} "
                "Say channels= to leave it out."
            )
        wrong = [n for n in self.names if n not in numbers]
        if wrong:
            raise DataError(f"{about}: the channel {wrong[0]!r} holds no numbers, or is named as time or label.")


def _labels(dataset: Any, dim: str) -> list[str]:
    """Names along a dimension: its coordinate, or numbers."""
    values = dataset[dim].values if dim in dataset.coords else range(dataset.sizes[dim])
    return [str(v) for v in values]


def _is_pair(x: Any) -> bool:
    """Whether something is (times, values): times are one axis of numbers or dates."""
    if not isinstance(x, (list, tuple)) or len(x) != 2 or _table(x[0]) is not None:
        return False
    try:
        return np.asarray(x[0]).ndim == 1 and not isinstance(x[0], (str, dict))
    except ValueError:  # ragged: a list of trajectories
        return False


def _times(values: Any, about: str) -> np.ndarray:
    array = np.array(values)
    if array.dtype.kind == "O":
        try:
            array = array.astype("datetime64[us]")
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{about}: times must be numbers, dates or durations, got {type(array.flat[0]).__name__}."
            ) from error
    if array.dtype.kind == "M" or array.dtype.kind == "m":
        return array
    if array.dtype.kind not in "fiu":
        raise DataError(f"{about}: times must be numbers, dates or durations, got {array.dtype}.")
    return array.astype("float64")


def _floats(values: Any, about: str) -> np.ndarray:
    try:
        return np.array(values, dtype="float64")
    except (ValueError, TypeError) as error:
        raise DataError(f"{about}: values must be numbers, NaN where missing ({error}).") from error

"""Times of a labelled dataset, also where they are dates or durations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import DataError

if TYPE_CHECKING:
    import xarray

TIME_ORIGIN, TIME_UNITS = "time_origin", "time_units"


def times_of(variable: xarray.DataArray) -> tuple[np.ndarray, dict[str, Any]]:
    """Times ``(T,)`` in float64, and what attributes keep of them; see :func:`leads.trajectories.from_xarray`.

    Raises:
        DataError: a date or duration is missing, or the times are something else.
    """
    values, kind = variable.values, variable.dtype.kind
    if kind in "fiu":
        unit = variable.attrs.get("units")
        return np.array(values, dtype="float64"), {TIME_UNITS: unit} if isinstance(unit, str) else {}
    if kind in "mM":
        return _of_numpy(values)
    if kind == "O":
        return _of_objects(values)
    raise DataError(f"Times must be numbers, dates or durations, the dataset's are {variable.dtype}.")


def _of_numpy(values: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    missing = np.flatnonzero(np.isnat(values))
    if len(missing):
        raise DataError(f"The time of frame {missing[0]} is missing (NaT). Give it, or leave that frame out.")
    second = np.timedelta64(1, "s")
    seconds = (values - values[:1]) / second
    if not len(values):
        return seconds, {}
    return seconds, {TIME_ORIGIN: str(values[0]) if values.dtype.kind == "M" else float(values[0] / second)}


def _of_objects(values: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Dates of calendars that NumPy does not have, as cftime gives them."""
    try:
        seconds = np.array([(v - values[0]).total_seconds() for v in values], dtype="float64")
    except (AttributeError, TypeError) as error:
        found = type(values[0]).__name__
        raise DataError(f"Times must be numbers, dates or durations, the dataset's are {found}.") from error
    return seconds, {TIME_ORIGIN: str(values[0])} if len(values) else {}

"""Dates of frames, from times as files count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import DataError, ShapeError
from leads.ocean.data.opening import label

if TYPE_CHECKING:
    import xarray

#: Names of times in files without attributes (lower case).
TIMES = ("time", "time_counter", "valid_time", "t")
#: Calendars that agree with each other after 1582.
GREGORIAN = ("standard", "gregorian", "proleptic_gregorian", "none")


def dated(dataset: xarray.Dataset, name: str | None, times: Any) -> xarray.Dataset:
    """The dataset with dates along the dimension ``time``; see :func:`leads.ocean.data.axes.with_axes`.

    Args:
        name: of the variable that holds the times, ``None`` where there is none.
        times: dates of the frames of a file without them.
    """
    import xarray

    dim = name if name is not None and name in dataset.dims else None
    if name is None:
        dim = next((str(d) for d in dataset.dims if str(d).lower() in TIMES), None)
    if times is not None:
        dates = np.atleast_1d(np.array(times, dtype="datetime64[ns]"))
        dataset = dataset.drop_vars(name) if name is not None else dataset
        dataset = dataset.rename({dim: "time"}) if dim and dim != "time" else dataset
        if "time" not in dataset.dims:
            dataset = dataset.expand_dims("time")
        if len(dates) != dataset.sizes["time"]:
            raise ShapeError(f"times holds {len(dates)} dates, {label(dataset)} has {dataset.sizes['time']} frames.")
        return dataset.assign_coords(time=("time", dates))
    if name is None:
        said = dataset.attrs.get("time_coverage_start")
        mend = f" Its attribute time_coverage_start says {said}: pass times={str(said)[:10]!r}." if said else ""
        raise DataError(
            f"{label(dataset)} has no coordinate time that says when its frames are.{mend or ' Pass times= with their dates.'}"
        )
    if name != "time":
        dataset = dataset.rename({name: "time"})
    check_calendar(dataset, "time")
    if dataset["time"].dtype.kind != "M":
        unit = dataset["time"].attrs.get("units")
        if not isinstance(unit, str) or " since " not in unit:
            raise DataError(
                f"{label(dataset, 'time')} has the units {unit!r}; 'days since 1950-01-01' or the like is needed. Set "
                "dataset['time'].attrs['units'], or pass times= with the dates."
            )
        try:
            dataset = xarray.decode_cf(dataset, mask_and_scale=True, decode_coords=False, decode_timedelta=False, drop_variables=[n for n in dataset.variables if n != "time"]).pipe(lambda t: dataset.assign_coords(time=t["time"]))  # fmt: skip
        except Exception as error:
            raise DataError(
                f"{label(dataset, 'time')} cannot be read as dates ({error}). Pass times= with the dates."
            ) from error
    if "time" not in dataset.dims:
        dataset = dataset.expand_dims("time")
    if bool(np.isnat(dataset["time"].values).any()):
        raise DataError(f"{label(dataset, 'time')} misses a date (NaT). Leave that frame out, or pass times=.")
    return dataset


def check_calendar(dataset: xarray.Dataset, time: str) -> None:
    """Raise :class:`DataError` for a calendar whose dates are not those of the Gregorian one."""
    attrs = dataset[time].attrs
    calendar = str(attrs.get("calendar", dataset[time].encoding.get("calendar", "standard"))).lower()
    if calendar not in GREGORIAN or dataset[time].dtype.kind == "O":
        raise DataError(
            f"{label(dataset, time)} is in the calendar {calendar!r}, and altimetry and temperature are in the Gregorian one; their "
            "dates cannot be mixed. Convert it first, dataset.convert_calendar('standard', align_on='date') (needs cftime)."
        )

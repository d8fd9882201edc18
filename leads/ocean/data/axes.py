"""Axes under one name and one direction: time, depth, latitude upwards, longitude in one convention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import DataError, SettingsError
from leads.ocean.data.dates import TIMES, dated
from leads.ocean.data.opening import cf, find_name, label, loaded
from leads.ocean.data.quantities import DEGREES
from leads.registry import nearest

if TYPE_CHECKING:
    import xarray

#: Names of axes in files without attributes (lower case), after CF's ``standard_name`` and ``axis``.
NAMES = {
    "time": TIMES,
    "depth": ("depth", "deptht", "lev", "level", "z"),
    "latitude": ("latitude", "lat", "nav_lat", "y"),
    "longitude": ("longitude", "lon", "long", "nav_lon", "x"),
}
_AXIS = {"time": "T", "depth": "Z", "latitude": "Y", "longitude": "X"}
CONVENTIONS = ("-180..180", "0..360", "keep")


def with_axes(dataset: xarray.Dataset, names: Mapping[str, str], times: Any = None) -> xarray.Dataset:
    """The dataset with its axes called ``time``, ``depth``, ``latitude`` and ``longitude``, and dates as times.

    Args:
        dataset: as it is stored (see :func:`leads.ocean.data.opening.opened`).
        names: what the file calls an axis where neither attributes nor usual names tell, ``{"latitude": "phi"}``.
        times: dates of the frames of a file without them.

    Raises:
        DataError: a coordinate is missing, misnamed, without units or not one number a cell; a grid that is curvilinear; a
            calendar that is not the Gregorian one. The file and the mend are named.
    """
    dataset = _without_time(dataset)
    for axis in ("latitude", "longitude"):
        name = axis_name(dataset, axis, names)
        if name is None:
            raise DataError(_missing(dataset, axis))
        if dataset[name].ndim == 2:
            raise DataError(
                f"{label(dataset, name)} has the dimensions {dataset[name].dims}: the grid is curvilinear (as NEMO's are), and windows "
                "and derivatives need one latitude a row and one longitude a column. Interpolate it first: "
                "leads.ocean.data.regrid_curvilinear(dataset, latitude=..., longitude=...)."
            )
        if dataset[name].ndim != 1:
            raise DataError(
                f"{label(dataset, name)} must hold one {axis} a cell, it has the dimensions {dataset[name].dims}."
            )
        dataset = _renamed(dataset, name, axis)
        _check_degrees(dataset, axis)
    depth = axis_name(dataset, "depth", names)
    if depth is not None and dataset[depth].ndim <= 1:
        dataset = _renamed(dataset, depth, "depth")
    return dated(dataset, axis_name(dataset, "time", names), times)


def axis_name(dataset: xarray.Dataset, axis: str, names: Mapping[str, str]) -> str | None:
    """The variable that holds an axis: as ``names`` says, else by ``standard_name``, by ``axis``, by its name."""
    found = find_name(dataset, axis, names, (axis,), ())
    if found is None:
        marked = [str(v) for v in cf(dataset).axes.get(_AXIS[axis], []) if dataset[v].ndim == 1]
        found = marked[0] if len(marked) == 1 else None
    if found is None:
        lower = {str(n).lower(): str(n) for n in dataset.variables}
        found = next((lower[n] for n in NAMES[axis] if n in lower), None)
    return found


def _missing(dataset: xarray.Dataset, axis: str) -> str:
    have = [str(n) for n in dataset.variables]
    dims = ", ".join(f"{d} ({n})" for d, n in dataset.sizes.items())
    near = nearest(axis, [str(n) for n in (*dataset.variables, *dataset.dims)])
    example = next((n for n in have if n[:2].lower() == axis[:2] and n.lower() not in NAMES[axis]), "NAME")
    return (
        f"{label(dataset)} has no coordinate {axis}: no variable has its standard_name or one of the names {', '.join(NAMES[axis])}. "
        f"{near} Its dimensions are {dims}. Pass names={{{axis!r}: {example!r}}}, or set dataset[{example!r}].attrs['standard_name'] = {axis!r}."
    )


def _renamed(dataset: xarray.Dataset, name: str, axis: str) -> xarray.Dataset:
    """The coordinate and its dimension under the axis' name."""
    dims = dataset[name].dims
    if axis in dataset.dims and dims != (axis,):
        raise DataError(
            f"{label(dataset, name)} is the {axis} by its attributes, but another dimension is called {axis}: attributes of latitude and "
            f"longitude are exchanged, or two axes are there. Correct standard_name, axis and units, or pass names={{{axis!r}: {axis!r}}}."
        )
    if dims and dims[0] != axis:
        if axis in dataset.variables and axis != name:
            dataset = dataset.drop_vars(axis)
        dataset = dataset.rename(
            {name: axis} if name == dims[0] else {dims[0]: axis, **({name: axis} if name != axis else {})}
        )
    elif name != axis:
        dataset = dataset.drop_vars(axis, errors="ignore").rename({name: axis})
    return dataset.set_coords(axis)


def _check_degrees(dataset: xarray.Dataset, axis: str) -> None:
    unit = dataset[axis].attrs.get("units")
    side, others = ("north", ("east", "_e", "degreee")) if axis == "latitude" else ("east", ("north", "_n", "degreen"))
    spelled = str(unit).lower().replace(" ", "_")
    if unit is None or spelled not in DEGREES or spelled.endswith(others):
        what = "has no units" if unit is None else f"has the units {unit!r}"
        mend = "" if unit is None or "m" not in spelled else " Projected coordinates must be turned into degrees first."
        raise DataError(
            f"{label(dataset, axis)} {what}, degrees_{side} are needed. Set dataset[{axis!r}].attrs['units'] = 'degrees_{side}' if that "
            f"is what it holds.{mend}"
        )
    values = loaded(dataset[axis], label(dataset, axis)).astype("float64")
    limit = 90.0 if axis == "latitude" else 720.0
    if values.size == 0 or not np.isfinite(values).all() or np.abs(values).max() > limit + 1e-3:
        raise DataError(
            f"{label(dataset, axis)} is not in degrees: its values are from {values.min() if values.size else None} to "
            f"{values.max() if values.size else None}. Check whether latitude and longitude are exchanged, or scaled twice."
        )


def _without_time(dataset: xarray.Dataset) -> xarray.Dataset:
    """Coordinates and their bounds that grew a dimension of time when days were concatenated, as those of the first day."""
    for name, variable in dataset.variables.items():
        coordinate = str(name).lower() in (*NAMES["latitude"][:3], *NAMES["longitude"][:4]) or str(name).endswith(
            ("_bnds", "_bounds")
        )
        if coordinate and variable.ndim > 1 and variable.dims[0] in NAMES["time"]:
            dataset = dataset.assign({name: dataset[name].isel({variable.dims[0]: 0}, drop=True)})
    return dataset


def normalised(dataset: xarray.Dataset, longitude: str = "-180..180") -> xarray.Dataset:
    """Latitude upwards and longitude increasing in one convention, the columns rolled along.

    Args:
        dataset: with axes as :func:`with_axes` gives them.
        longitude: ``"-180..180"`` (west included), ``"0..360"``, or ``"keep"`` for what increases already.

    Raises:
        SettingsError: another convention. DataError: a column or a row that is there twice.
    """
    if longitude not in CONVENTIONS:
        raise SettingsError(f"longitude is one of {', '.join(map(repr, CONVENTIONS))}, got {longitude!r}.")
    x = loaded(dataset["longitude"], label(dataset, "longitude")).astype("float64")
    if longitude != "keep":
        low = -180.0 if longitude == "-180..180" else 0.0
        moved = wrapped(x, low)
        if not np.array_equal(moved, x):
            attrs = {
                k: v for k, v in dataset["longitude"].attrs.items() if k not in ("valid_min", "valid_max", "bounds")
            }
            dataset = dataset.drop_vars([n for n in ("lon_bnds", "longitude_bnds") if n in dataset.variables])
            dataset = dataset.assign_coords(longitude=("longitude", moved, attrs))
    for axis in ("latitude", "longitude"):
        values = dataset[axis].values.astype("float64")
        order = np.argsort(values, kind="stable")
        if not np.array_equal(order, np.arange(len(order))):
            dataset = dataset.isel({axis: order})
            values = values[order]
        twice = np.flatnonzero(np.diff(values) < 1e-6)
        if len(twice):
            raise DataError(
                f"{label(dataset, axis)}: {values[twice[0]]:g} is there twice (after wrapping, 0 and 360 degrees are one). Drop one, "
                f"dataset.drop_duplicates({axis!r}), or drop the last column before reading."
            )
    return dataset


def wrapped(longitude: np.ndarray, low: float) -> np.ndarray:
    """Longitudes in ``[low, low + 360)``; those that are in it already keep their digits."""
    return np.where((longitude >= low) & (longitude < low + 360), longitude, (longitude - low) % 360 + low)


def spacing(dataset: xarray.Dataset, axis: str) -> float:
    """Distance of cells in degrees.

    Raises:
        DataError: a single cell, or cells that are not equally far apart (to a hundredth).
    """
    values = dataset[axis].values.astype("float64")
    if len(values) < 2:
        raise DataError(f"{label(dataset, axis)} has a single cell; a window needs at least two.")
    step = (values[-1] - values[0]) / (len(values) - 1)
    off = float(np.abs(np.diff(values) - step).max())
    if off > 1e-2 * abs(step):
        raise DataError(
            f"{label(dataset, axis)} is not equally spaced (steps of about {step:g} degrees vary by {off:g}). Interpolate, "
            f"dataset.interp({axis}=np.arange(...)), or cut a box out that does not cross the gap."
        )
    return float(step)

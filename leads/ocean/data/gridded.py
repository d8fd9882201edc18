"""Gridded altimetry and temperature, by CF attributes rather than by file name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import DataError, ShapeError, UnknownNameError
from leads.ocean.data.axes import normalised, with_axes
from leads.ocean.data.opening import FILES, as_list, find_name, label, loaded, opened
from leads.ocean.data.quantities import QUANTITIES, Quantity, to_si
from leads.registry import nearest

if TYPE_CHECKING:
    import xarray

_PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value")


def read_gridded(
    paths: Any,
    quantities: Sequence[str] | None = None,
    *,
    names: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    times: Any = None,
    depth: float = 0.0,
    longitude: str = "-180..180",
    chunks: Any = None,
    check: bool = True,
) -> xarray.Dataset:
    """Fields on a latitude-longitude grid, from files of altimetry (DUACS), temperature (GHRSST) or models (GLORYS).

    Every file is decoded with its own scale factors before days are joined: products whose packing changes from file to
    file are otherwise read wrongly. Variables are found by ``standard_name`` first and by name second, axes by
    ``standard_name``, ``axis`` and then name. Nothing but coordinates and one frame a file is read until it is used.

    Args:
        paths: a NetCDF-4 file, a Zarr store, a pattern (``"data/dt_med_*.nc"``), a dataset, or a list of these, one or
            more frames each.
        quantities: names of :data:`leads.ocean.data.QUANTITIES` (``"adt"``, ``"sla"``, ``"ugos"``, ``"sst"`` ...); by
            default all that the first file has.
        names: what a file calls a quantity or an axis where nothing tells, ``{"adt": "height"}``.
        units: of quantities whose attribute ``units`` is missing or wrong, by quantity.
        times: dates of the frames of a single file that has none.
        depth: in m; of fields with depths, the level nearest to it.
        longitude: ``"-180..180"``, ``"0..360"`` or ``"keep"``.
        chunks: of Dask, ``{"time": 30}``; by default those of the files.
        check: read the first frame of every file and refuse values that cannot be.

    Returns:
        Variables ``(time, latitude, longitude)`` in float32 and SI units, NaN where there is land or no observation: one
        mask a variable, since products differ (velocities lack a ring of cells along the coast). ``time`` holds dates, in
        order; ``attrs["source_files"]`` names the files.

    Raises:
        FileError: a file that is missing, truncated or of another format.
        DataError: coordinates or units that are missing or wrong, other calendars, values that were not scaled or scaled
            twice, dates that are there twice.
        ShapeError: variables, or files, on different grids.
        UnknownNameError: a quantity that leads does not know, or that is not in a file.
    """
    items = as_list(paths)
    if times is not None and len(items) > 1:
        raise ShapeError(
            f"times gives the dates of one file, there are {len(items)}. Read them one by one and join them."
        )
    parts: list[xarray.Dataset] = []
    for item in items:
        raw = opened(item, chunks)
        part = with_axes(raw, names or {}, times)
        found = _quantities(part, quantities if not parts else [str(n) for n in parts[0].data_vars], names or {})
        part = _decoded(part, found, units or {}, depth, check)
        parts.append(normalised(part, longitude))
    return parts[0] if len(parts) == 1 else _joined(parts)


def _quantities(dataset: xarray.Dataset, wanted: Iterable[str] | None, names: Mapping[str, str]) -> dict[str, str]:
    """Names of variables by quantity."""
    known = {**QUANTITIES}
    asked = list(known) if wanted is None else [str(w) for w in wanted]
    found: dict[str, str] = {}
    for name in asked:
        if name not in known:
            raise UnknownNameError(f"No quantity is named {name!r}. {nearest(name, known)}")
        variable = find_name(dataset, name, names, known[name].standard_names, known[name].names)
        if variable is not None and variable not in found.values():
            found[name] = variable
        elif wanted is not None:
            have = [str(v) for v in dataset.data_vars if dataset[v].ndim >= 2]
            raise UnknownNameError(
                f"{label(dataset)} has no {name}: no variable has its standard name {known[name].standard_names[0]} or one of the "
                f"names {', '.join(known[name].names)}. It has {', '.join(have) or 'none'}. Pass names={{{name!r}: {(have or ['NAME'])[0]!r}}}."
            )
    if not found:
        there = ", ".join(str(v) for v in dataset.data_vars)
        raise UnknownNameError(
            f"{label(dataset)} has no quantity that leads knows ({', '.join(known)}); its variables are {there}. Pass names=."
        )
    return found


def _decoded(
    dataset: xarray.Dataset, found: Mapping[str, str], units: Mapping[str, str], depth: float, check: bool
) -> xarray.Dataset:
    import xarray

    out: dict[str, xarray.DataArray] = {}
    for name, variable in found.items():
        array, quantity = dataset[variable], QUANTITIES[name]
        what = label(dataset, variable)
        if "depth" in array.dims:
            array = array.sel(depth=depth, method="nearest", drop=True)
        if set(array.dims) == {"latitude", "longitude"}:
            array = array.expand_dims(time=dataset["time"])
        if set(array.dims) != {"time", "latitude", "longitude"}:
            raise ShapeError(
                f"{what} has the dimensions {array.dims}, but {', '.join(found)} of one file must share (time, latitude, longitude). "
                "Read it on its own with quantities=, and put it on this grid by leads.ocean.data.regrid(other, like)."
            )
        values = unpacked(array, what)
        unit = units.get(name, array.attrs.get("units"))
        if not isinstance(unit, str):
            raise DataError(f"{what} has no units. Pass units={{{name!r}: {quantity.unit!r}}} with the right ones.")
        factor, offset = to_si(unit, quantity.unit, what, difference=name.endswith("_error"))
        if (factor, offset) != (1.0, 0.0):
            values = values * factor + offset
        values = values.astype("float32").transpose("time", "latitude", "longitude")
        standard = array.attrs.get("standard_name", quantity.standard_names[0])
        values.attrs = {
            "standard_name": standard,
            "units": quantity.unit,
            "long_name": array.attrs.get("long_name", quantity.long_name),
        }
        if check:
            _plausible(values, what, quantity)
        out[name] = values
    coords = {a: dataset[a] for a in ("time", "latitude", "longitude")}
    attrs = {k: dataset.attrs[k] for k in ("title", "institution", "license", FILES) if k in dataset.attrs}
    return xarray.Dataset(out, attrs=attrs).assign_coords(coords).drop_vars("depth", errors="ignore")


def unpacked(array: xarray.DataArray, what: str) -> xarray.DataArray:
    """Physical values in float64 (or float32 where stored so), NaN where the fill value stood."""
    attrs = array.attrs
    for key in ("scale_factor", "add_offset"):
        if key in attrs and array.dtype.kind == "f" and float(attrs[key]) != (1.0 if key == "scale_factor" else 0.0):
            raise DataError(
                f"{what} is stored as {array.dtype} and still names {key} = {attrs[key]}: values of packed files are whole numbers, so "
                f"these were scaled already and would be scaled twice. Remove the attribute, del dataset[{str(array.name)!r}].attrs[{key!r}], "
                "or pack the values again."
            )
    # A decoded dataset keeps its packing in the encoding and has NaN already.
    values = array.astype("float64") if array.dtype.kind in "iub" else array
    for key in ("_FillValue", "missing_value"):
        if key in attrs:
            fills = np.atleast_1d(attrs[key])
            values = values.where(~array.isin(fills)) if array.dtype.kind != "f" or np.isfinite(fills).all() else values
    if "scale_factor" in attrs:
        values = values * float(attrs["scale_factor"])
    if "add_offset" in attrs:
        values = values + float(attrs["add_offset"])
    return values


def _plausible(values: xarray.DataArray, what: str, quantity: Quantity) -> None:
    """Refuse a first frame that is not of the quantity's size."""
    frame = loaded(values.isel(time=0), what)
    seen = frame[np.isfinite(frame)]
    if not seen.size:
        return
    low, high = float(np.percentile(seen, 1)), float(np.percentile(seen, 99))
    if low < quantity.low or high > quantity.high:
        raise DataError(
            f"{what} has values from {low:g} to {high:g} {quantity.unit}, and {quantity.long_name} lies between {quantity.low:g} and "
            f"{quantity.high:g}. A scale factor is missing or the units are wrong: set attrs['scale_factor'] (1e-4 in altimetry) or "
            f"pass units={{{quantity.name!r}: ...}}; check=False reads it as it is."
        )
    spread = float(seen.max() - seen.min())
    if seen.size > 16 and 0 < spread < quantity.still:
        raise DataError(
            f"{what} varies by no more than {spread:.1e} {quantity.unit} in its first frame: a scale factor was applied twice. Divide the "
            "values by it or remove the attribute scale_factor; check=False reads it as it is."
        )


def _joined(parts: Sequence[xarray.Dataset]) -> xarray.Dataset:
    """Frames of all files in the order of their dates."""
    import xarray

    first = parts[0]
    for part in parts[1:]:
        same_grid(first, part)
    parts = sorted(parts, key=lambda p: p["time"].values[0])
    files = [str(p.attrs.get(FILES, "a dataset")) for p in parts]
    joined = xarray.concat(
        [p.drop_attrs(deep=False) for p in parts],
        "time",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="override",
    )
    dates = joined["time"].values
    if not (np.diff(dates) > np.timedelta64(0)).all():
        which = np.repeat(np.arange(len(parts)), [p.sizes["time"] for p in parts])
        i = int(np.flatnonzero(np.diff(dates) <= np.timedelta64(0))[0])
        raise DataError(
            f"{files[which[i]]} and {files[which[i + 1]]}: time has {str(dates[i + 1])[:19]} after {str(dates[i])[:19]}: a date is there twice or "
            "files overlap. Keep one file a date (the newest production), or cut the longer one, dataset.sel(time=...)."
        )
    return joined.assign_attrs({**first.attrs, FILES: files})


def same_grid(one: xarray.Dataset, other: xarray.Dataset) -> None:
    """Raise :class:`ShapeError` unless two datasets have the same latitudes and longitudes (to a thousandth of a cell)."""
    for axis in ("latitude", "longitude"):
        a, b = (d[axis].values.astype("float64") for d in (one, other))
        fits = a.shape == b.shape and np.abs(a - b).max() <= 1e-3 * max(
            np.abs(np.diff(a)).min() if len(a) > 1 else 1.0, 1e-3
        )
        if not fits:
            names = ", ".join(map(str, other.data_vars))
            raise ShapeError(
                f"{label(other, names)} and {label(one)} are on different grids: {axis} has {len(b)} cells from {b[0]:g} to {b[-1]:g}, against "
                f"{len(a)} from {a[0]:g} to {a[-1]:g}. Put one on the other's grid: leads.ocean.data.regrid(other, like)."
            )


def merged(*datasets: xarray.Dataset) -> xarray.Dataset:
    """Quantities of several sets on one grid, at the dates that all have.

    Raises:
        ShapeError: different grids. DataError: no date in common; the files are named.
    """
    import xarray

    for other in datasets[1:]:
        same_grid(datasets[0], other)
    days = [d.assign_coords(time=d["time"].values.astype("datetime64[D]").astype("datetime64[ns]")) for d in datasets]
    common = sorted(set.intersection(*(set(d["time"].values.tolist()) for d in days)))
    if not common:
        spans = "; ".join(
            f"{label(d)} from {str(d['time'].values[0])[:10]} to {str(d['time'].values[-1])[:10]}" for d in days
        )
        raise DataError(f"time: the sets have no day in common ({spans}). Read files of the same days.")
    when = np.array(common, dtype="datetime64[ns]")
    out = xarray.merge(
        [d.sel(time=when).assign_coords({a: datasets[0][a] for a in ("latitude", "longitude")}) for d in days],
        combine_attrs="drop_conflicts", join="exact", compat="no_conflicts",
    )  # fmt: skip
    files = [f for d in datasets for f in np.atleast_1d(d.attrs.get(FILES, "a dataset"))]
    return out.assign_attrs({FILES: [str(f) for f in files]})

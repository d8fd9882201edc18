"""Along-track altimetry (level 3): heights under the satellite, one row a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.ocean.data.axes import CONVENTIONS, axis_name, wrapped
from leads.ocean.data.dates import check_calendar
from leads.ocean.data.gridded import unpacked
from leads.ocean.data.opening import FILES, as_list, find_name, label, loaded, opened
from leads.ocean.data.quantities import QUANTITIES, TRACK, to_si
from leads.registry import nearest

if TYPE_CHECKING:
    import xarray

_PLACE = ("time", "latitude", "longitude")


def read_along_track(
    paths: Any,
    *,
    names: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    longitude: str = "-180..180",
    height: str = "sla_unfiltered",
    chunks: Any = None,
) -> xarray.Dataset:
    """Heights along tracks, of one satellite or many, in the order of time.

    Args:
        paths: a NetCDF-4 file, a pattern, a dataset, or a list of these. Names of satellites are taken from the attribute
            ``platform``, or from the file's name (``dt_global_c2_phy_l3_*``).
        names, units: as for :func:`leads.ocean.data.read_gridded`.
        longitude: ``"-180..180"``, ``"0..360"`` or ``"keep"``.
        height: ``"sla_unfiltered"`` or ``"sla_filtered"`` (low-passed by the producer): what ``ssh`` is made of.
        chunks: of Dask.

    Returns:
        One dimension ``time`` (dates, in order), coordinates ``latitude``, ``longitude``, ``cycle``, ``track`` and
        ``satellite`` where the file has them, and in m and float32 all heights and corrections of the file, and

        ``ssh = sla + mdt - lwe``

        the absolute dynamic topography without the long-wavelength error, as in the 2021a challenge; ``mdt`` or ``lwe``
        that a file lacks are left out, and ``ssh``'s attribute ``comment`` says what it is made of.

    Raises:
        FileError, DataError, ShapeError: as :func:`leads.ocean.data.read_gridded`; also variables of other dimensions than
            the track, and tracks of files that are fields.
        UnknownNameError: no such height.
    """
    import xarray

    if height not in ("sla_unfiltered", "sla_filtered"):
        raise UnknownNameError(f"No height is named {height!r}. {nearest(height, ('sla_unfiltered', 'sla_filtered'))}")
    if longitude not in CONVENTIONS:
        raise SettingsError(f"longitude is one of {', '.join(map(repr, CONVENTIONS))}, got {longitude!r}.")
    parts = [_one(opened(p, chunks), names or {}, units or {}, longitude, height) for p in as_list(paths)]
    shared = set.intersection(*(set(map(str, p.variables)) for p in parts))
    parts = [p.drop_vars([v for v in p.variables if v not in shared]) for p in parts]
    made = {p["ssh"].attrs["comment"] for p in parts}
    if len(made) > 1:
        files = ", ".join(str(p.attrs.get(FILES)) for p in parts)
        raise DataError(
            f"{files}: ssh would be made of {' here and of '.join(sorted(made))} there. Read files of one kind together, or read them apart and "
            "join what you need."
        )
    joined = (
        parts[0]
        if len(parts) == 1
        else xarray.concat(parts, "time", combine_attrs="drop_conflicts", coords="minimal", compat="override")
    )
    order = np.argsort(joined["time"].values, kind="stable")
    out = joined.isel(time=order)
    return out.assign_attrs({FILES: [str(p.attrs.get(FILES, "a dataset")) for p in parts]})


def _one(
    raw: xarray.Dataset, names: Mapping[str, str], units: Mapping[str, str], longitude: str, height: str
) -> xarray.Dataset:
    import xarray

    axes = {a: axis_name(raw, a, names) for a in _PLACE}
    for axis, name in axes.items():
        if name is None:
            raise DataError(
                f"{label(raw)} has no coordinate {axis} along its track; its variables are {', '.join(map(str, raw.variables))}. Pass names="
                f"{{{axis!r}: NAME}}."
            )
    dim = raw[axes["latitude"]].dims
    if len(dim) != 1 or raw[axes["longitude"]].dims != dim or raw[axes["time"]].dims != dim:
        have = ", ".join(f"{n} {raw[n].dims}" for n in axes.values())
        raise ShapeError(
            f"{label(raw)} is no track: {have} must share one dimension. Fields on a grid are read by leads.ocean.data.read_gridded."
        )
    check_calendar(raw, str(axes["time"]))
    time = raw[[axes["time"]]].reset_coords()
    if raw[axes["time"]].dtype.kind != "M":
        unit = raw[axes["time"]].attrs.get("units")
        if not isinstance(unit, str) or " since " not in unit:
            raise DataError(
                f"{label(raw, str(axes['time']))} has the units {unit!r}; 'days since 1950-01-01' or the like is needed."
            )
        time = xarray.decode_cf(time, decode_timedelta=False)
    when = loaded(time[axes["time"]], label(raw, str(axes["time"])))
    x, y = (
        loaded(unpacked(raw[axes[a]], label(raw, str(axes[a]))), label(raw, str(axes[a]))).astype("float64")
        for a in ("longitude", "latitude")
    )
    if np.abs(y).max(initial=0.0) > 90 or not np.isfinite(y).all():
        raise DataError(
            f"{label(raw, str(axes['latitude']))} is not in degrees: its values reach {np.abs(y).max()}. Check its scale factor."
        )
    if longitude != "keep":
        x = wrapped(x, -180.0 if longitude == "-180..180" else 0.0)
    out: dict[str, Any] = {}
    for quantity in TRACK:
        name = find_name(raw, quantity, names, (), (quantity,))
        if name is None and quantity == height:
            name = find_name(raw, quantity, names, QUANTITIES["sla"].standard_names, ())
        if name is None:
            continue
        what = label(raw, name)
        if raw[name].dims != dim:
            raise ShapeError(f"{what} has the dimensions {raw[name].dims}, the track is along {dim}.")
        unit = units.get(quantity, raw[name].attrs.get("units"))
        if not isinstance(unit, str):
            raise DataError(f"{what} has no units. Pass units={{{quantity!r}: 'm'}} with the right ones.")
        factor, _ = to_si(unit, "m", what)
        values = (unpacked(raw[name], what) * factor).astype("float32")
        out[quantity] = ("time", values.data, {"units": "m", "long_name": raw[name].attrs.get("long_name", quantity)})
    if height not in out:
        raise UnknownNameError(
            f"{label(raw)} has no {height}; it has {', '.join(out) or ', '.join(map(str, raw.data_vars))}. Pass names={{{height!r}: NAME}}, or "
            "height='sla_filtered'."
        )
    coords: dict[str, Any] = {
        "time": ("time", when, {"standard_name": "time"}),
        "latitude": ("time", y, {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": ("time", x, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    for extra in ("cycle", "track"):
        if extra in raw.variables and raw[extra].dims == dim:
            coords[extra] = ("time", raw[extra].values, {"long_name": raw[extra].attrs.get("long_name", extra)})
    coords["satellite"] = ("time", np.full(len(when), _satellite(raw), dtype=object))
    dataset = xarray.Dataset(out, coords, attrs={FILES: raw.attrs.get(FILES, "a dataset")})
    return dataset.assign(ssh=_height(dataset, height))


def _height(dataset: xarray.Dataset, height: str) -> xarray.DataArray:
    terms = [height] + [t for t in ("mdt", "lwe") if t in dataset]
    values = sum(dataset[t].astype("float64") * (-1 if t == "lwe" else 1) for t in terms)
    known = QUANTITIES["adt" if "mdt" in terms else "sla"]
    comment = " - ".join([" + ".join(t for t in terms if t != "lwe"), *(["lwe"] if "lwe" in terms else [])])
    return values.astype("float32").assign_attrs(  # type: ignore[union-attr]
        standard_name=known.standard_names[0],
        units="m",
        long_name="sea surface height along the track",
        comment=comment,
    )


def _satellite(raw: xarray.Dataset) -> str:
    platform = raw.attrs.get("platform")
    if isinstance(platform, str) and platform.strip():
        return platform.strip()
    parts = str(raw.attrs.get(FILES, "")).replace("\\", "/").rsplit("/", 1)[-1].split("_")
    return parts[2] if len(parts) > 3 and parts[0] in ("dt", "nrt") else "unknown"

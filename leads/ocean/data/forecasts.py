"""Forecasts as CF datasets: coordinates, units, standard names, standard errors, land without numbers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from leads.errors import DataError, FileError, SettingsError, ShapeError
from leads.ocean.data.opening import FILES
from leads.ocean.data.quantities import QUANTITIES
from leads.ocean.data.windows import Windows
from leads.trajectories.files import write_dataset
from leads.version import __version__

if TYPE_CHECKING:
    import xarray

LAYOUTS = ("map", "windows", "oceanbench")
CONVENTIONS = "CF-1.11"
#: How OceanBench calls our quantities.
OCEANBENCH = {"adt": "zos", "ugos": "uo", "vgos": "vo"}
_AXES: dict[str, dict[str, Any]] = {
    "latitude": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "longitude": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"},
}


def forecast_dataset(
    forecast: Windows,
    standard_error: Tensor | None = None,
    *,
    layout: str = "map",
    names: Mapping[str, str] | None = None,
    title: str = "Ocean forecast",
) -> xarray.Dataset:
    """A forecast as a CF dataset.

    Args:
        forecast: windows whose states are the forecast in SI units, NaN on land, as :meth:`Windows.with_states` makes
            them; the first frame is the initial state, at the date from which the forecast was made.
        standard_error: ``(E, N, T, C, y, x)`` in the same units.
        layout: ``"map"``: one grid ``(forecast_reference_time, forecast_period, latitude, longitude)`` that covers all
            windows (overlaps are averaged, cells in none are NaN); ``"windows"``: ``(window, ...)`` side by side, each with
            its latitudes and longitudes; ``"oceanbench"``: the map with dimensions ``first_day_datetime`` and
            ``lead_day_index`` (0, 1, ... for the days after the start) and OceanBench's names.
        names: of variables, by channel.
        title: of the dataset.

    Returns:
        For every channel its ``standard_name``, ``long_name``, ``units``, and ``NAME_standard_error`` with CF's modifier,
        named by ``ancillary_variables``.

    Raises:
        UnknownNameError, SettingsError: another layout, or OceanBench's for leads that are not days.
        DataError: windows that lie on different grids or start at different dates, for a map.
        ShapeError: standard errors of another shape.
    """
    if layout not in LAYOUTS:
        raise SettingsError(f"layout is one of {', '.join(map(repr, LAYOUTS))}, got {layout!r}.")
    data = forecast.trajectories
    values = {"": data.states.double().cpu().numpy()}
    if standard_error is not None:
        if standard_error.shape != data.states.shape:
            raise ShapeError(
                f"standard_error has shape {tuple(standard_error.shape)}, the forecast {tuple(data.states.shape)}."
            )
        values["_standard_error"] = standard_error.double().cpu().numpy()
    sea = forecast.sea.cpu().numpy()[:, None, None]
    values = {k: np.where(sea, v, np.nan) for k, v in values.items()}
    lead = (data.times - data.times[0]).numpy() * forecast.second
    if layout == "windows":
        return _side_by_side(forecast, values, lead, names or {}, title)
    dates = forecast.dates()[:, :, 0]
    if not (dates == dates[:1]).all():
        raise DataError(
            "The windows start at different dates, and a map has one. Use layout='windows', or select windows of one season."
        )
    maps, latitude, longitude = _mosaic(forecast, values)
    renamed = {**(OCEANBENCH if layout == "oceanbench" else {}), **(names or {})}
    dims = ("forecast_reference_time", "forecast_period", "latitude", "longitude")
    out = _variables(forecast, maps, dims, renamed, title)
    out = out.assign_coords(
        forecast_reference_time=("forecast_reference_time", dates[0], {"standard_name": "forecast_reference_time", "long_name": "date of the initial state"}),
        forecast_period=("forecast_period", lead / 86400, {"standard_name": "forecast_period", "long_name": "lead time", "units": "days"}),
        time=(dims[:2], forecast.dates()[0], {"standard_name": "time", "long_name": "date of validity"}),
        latitude=("latitude", latitude, _AXES["latitude"]),
        longitude=("longitude", longitude, _AXES["longitude"]),
    )  # fmt: skip
    return _oceanbench(out, lead) if layout == "oceanbench" else out


def _oceanbench(out: xarray.Dataset, lead: np.ndarray) -> xarray.Dataset:
    days = lead / 86400
    keep = np.flatnonzero(days > 1e-9)
    if not keep.size or np.abs(days[keep] - 1 - np.arange(keep.size)).max() > 1e-6:
        raise SettingsError(
            f"OceanBench counts days, lead times of 1, 2, 3, ... days; got {np.round(days, 3).tolist()}. Use layout='map'."
        )
    out = out.isel(forecast_period=keep).drop_vars("time")
    out = out.rename(forecast_reference_time="first_day_datetime", forecast_period="lead_day_index")
    out = out.assign_coords(
        lead_day_index=("lead_day_index", np.arange(keep.size), {"long_name": "day of the forecast", "units": "1"}),
        # Index 0 is the first forecast day.
        first_day_datetime=("first_day_datetime", out["first_day_datetime"].values + np.timedelta64(1, "D"), {"standard_name": "forecast_reference_time", "long_name": "date of the first forecast day"}),
    )  # fmt: skip
    return out


def _mosaic(
    forecast: Windows, values: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """All windows on the one lattice that they were cut from: ``(N, T, C, latitude, longitude)``."""
    axes, starts = [], []
    for centres in (forecast.latitude.numpy(), forecast.longitude.numpy()):
        step = float((centres[:, -1] - centres[:, 0]).mean() / (centres.shape[1] - 1))
        first = np.round((centres[:, 0] - centres.min()) / step).astype(int)
        off = np.abs(centres.min() + first * step - centres[:, 0]).max()
        if off > 0.05 * step:
            raise DataError(
                f"The windows do not lie on one grid (they are off by {off:g} of {step:g} degrees), so there is no map of them. Use layout='windows'."
            )
        starts.append(first)
        axes.append(centres.min() + step * np.arange(first.max() + centres.shape[1]))
    n = len(forecast)
    y, x = forecast.latitude.shape[1], forecast.longitude.shape[1]
    maps = {}
    for kind, v in values.items():
        total = np.zeros((*v.shape[1:4], len(axes[0]), len(axes[1])))
        count = np.zeros_like(total)
        for i in range(n):
            part = np.s_[..., starts[0][i] : starts[0][i] + y, starts[1][i] : starts[1][i] + x]
            seen = np.isfinite(v[i])
            total[part] += np.where(seen, v[i], 0.0)
            count[part] += seen
        maps[kind] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return maps, axes[0], axes[1]


def _side_by_side(
    forecast: Windows, values: Mapping[str, np.ndarray], lead: np.ndarray, names: Mapping[str, str], title: str
) -> xarray.Dataset:
    dims = ("window", "forecast", "forecast_period", "y", "x")
    out = _variables(forecast, values, dims, names, title)
    return out.assign_coords(
        forecast_period=("forecast_period", lead / 86400, {"standard_name": "forecast_period", "long_name": "lead time", "units": "days"}),
        forecast_reference_time=(dims[:2], forecast.dates()[:, :, 0], {"standard_name": "forecast_reference_time", "long_name": "date of the initial state"}),
        time=(dims[:3], forecast.dates(), {"standard_name": "time", "long_name": "date of validity"}),
        latitude=(("window", "y"), forecast.latitude.numpy(), {k: v for k, v in _AXES["latitude"].items() if k != "axis"}),
        longitude=(("window", "x"), forecast.longitude.numpy(), {k: v for k, v in _AXES["longitude"].items() if k != "axis"}),
        window_name=("window", np.array(forecast.names, dtype=object), {"long_name": "name of the window"}),
    )  # fmt: skip


def _variables(
    forecast: Windows, values: Mapping[str, np.ndarray], dims: tuple[str, ...], names: Mapping[str, str], title: str
) -> xarray.Dataset:
    import xarray

    out: dict[str, Any] = {}
    for i, channel in enumerate(forecast.trajectories.channels):
        name = names.get(channel.name, channel.name)
        known = QUANTITIES.get(channel.name)
        attrs = {"units": channel.unit, "long_name": channel.long_name or channel.name, "coordinates": "time"}
        attrs.pop("coordinates")
        if known is not None:
            attrs["standard_name"] = known.standard_names[0]
        if "_standard_error" in values:
            error = {"units": channel.unit, "long_name": f"standard error of {attrs['long_name']}"}
            if known is not None:
                error["standard_name"] = f"{known.standard_names[0]} standard_error"
            out[f"{name}_standard_error"] = (dims, np.take(values["_standard_error"], i, -3).astype("float32"), error)
            attrs["ancillary_variables"] = f"{name}_standard_error"
        out[name] = (dims, np.take(values[""], i, -3).astype("float32"), attrs)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    attributes = {
        "Conventions": CONVENTIONS, "title": title, "source": f"leads {__version__}", "history": f"{now}: made by leads {__version__}",
    }  # fmt: skip
    files = forecast.attributes.get(FILES)
    if files:
        attributes["references"] = "Made from " + (
            files if isinstance(files, str) else ", ".join(Path(f).name for f in files)
        )
    return xarray.Dataset(out, attrs=attributes)


def write_forecast(dataset: xarray.Dataset, path: str | Path) -> Path:
    """Write a forecast to NetCDF (``.nc``) or Zarr (``.zarr``), compressed, whole or not at all.

    Raises:
        FileError: another suffix, or it could not be written; what was there before is untouched.
    """
    path = Path(path)
    if path.suffix not in (".nc", ".zarr"):
        raise FileError(f"Forecasts are written as .nc or .zarr, got {path.name!r}.")
    encoding: dict[str, Any] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind == "M":
            encoding[str(name)] = {
                "units": "seconds since 1950-01-01 00:00:00",
                "calendar": "standard",
                "dtype": "int64",
            }
        elif name in dataset.data_vars and variable.dtype.kind == "f":
            encoding[str(name)] = {"_FillValue": np.float32(np.nan)}
            if path.suffix == ".nc":
                encoding[str(name)] |= {"zlib": True, "complevel": 4, "shuffle": True}
        elif variable.dtype.kind == "f":
            encoding[str(name)] = {"_FillValue": None}
    return write_dataset(lambda: dataset, path, encoding)

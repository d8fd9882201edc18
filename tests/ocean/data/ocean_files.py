"""Small files in the layouts of the products, written with the packing that the products have.

A test module that imports this is skipped where the extra for ocean data is not installed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

for _name in ("cf_xarray", "dask"):
    pytest.importorskip(_name, reason="needs leads-dynamics[ocean]")

START = np.datetime64("2019-01-01", "ns")


def axes(
    ny: int = 12, nx: int = 16, west: float = 5.125, south: float = 30.125, step: float = 0.25
) -> dict[str, np.ndarray]:
    return {"latitude": south + step * np.arange(ny), "longitude": west + step * np.arange(nx)}


def dates(n: int, first: str = "2019-01-01") -> np.ndarray:
    return np.datetime64(first, "ns") + np.arange(n) * np.timedelta64(1, "D")


def height(n: int = 6, land: bool = True, seed: int = 0, **shape: float) -> xarray.Dataset:
    """Absolute dynamic topography as DUACS packs it: int32, scale 1e-4, days since 1950; the east third is land."""
    at = axes(**shape)
    y, x = np.meshgrid(np.radians(at["latitude"]), np.radians(at["longitude"]), indexing="ij")
    t = np.arange(n)[:, None, None]
    field = 0.2 * np.sin(40 * x + 0.1 * t) * np.cos(30 * y) + 0.01 * np.random.default_rng(seed).standard_normal(
        (n, *y.shape)
    )
    packed = np.round(field / 1e-4).astype("int32")
    if land:
        packed[:, :, -len(at["longitude"]) // 3 :] = -2147483647
    return xarray.Dataset(
        {
            "adt": (
                ("time", "latitude", "longitude"),
                packed,
                {"standard_name": "sea_surface_height_above_geoid", "units": "m", "scale_factor": 1e-4, "_FillValue": np.int32(-2147483647)},
            )
        },
        {
            "time": ("time", (dates(n) - np.datetime64("1950-01-01")) / np.timedelta64(1, "D"), {"standard_name": "time", "axis": "T", "units": "days since 1950-01-01 00:00:00", "calendar": "gregorian"}),
            "latitude": ("latitude", at["latitude"].astype("float32"), {"standard_name": "latitude", "axis": "Y", "units": "degrees_north"}),
            "longitude": ("longitude", at["longitude"].astype("float32"), {"standard_name": "longitude", "axis": "X", "units": "degrees_east"}),
        },
    )  # fmt: skip


def truth(stored: xarray.Dataset) -> np.ndarray:
    """What a packed height means, worked out by hand."""
    raw = stored["adt"].values.astype("float64")
    return np.where(raw == -2147483647, np.nan, raw * 1e-4)


def written(stored: xarray.Dataset, path: Path) -> Path:
    """To NetCDF exactly as it is: packed values, attributes as attributes."""
    plain = stored.copy()
    encoding: dict[str, dict[str, object]] = {}
    for name in plain.variables:
        fill = plain[name].attrs.pop("_FillValue", None) if name in plain.data_vars else None
        encoding[str(name)] = {"_FillValue": fill}
    plain.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    return path

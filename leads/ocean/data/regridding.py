"""From one grid to another: simple rules, for sets that must share a grid before they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import DataError, ShapeError
from leads.ocean.data.axes import axis_name, spacing, wrapped
from leads.ocean.data.opening import label

if TYPE_CHECKING:
    import xarray


def regrid(dataset: xarray.Dataset, like: xarray.Dataset) -> xarray.Dataset:
    """The dataset on the latitudes and longitudes of ``like``.

    A grid that is finer by two or more is first averaged over blocks of whole cells about as large as the target's, so
    that small scales do not fold into large ones; then bilinear interpolation, NaN wherever a neighbour is.

    Args:
        dataset: as :func:`leads.ocean.data.read_gridded` gives it.
        like: gives the grid.

    Raises:
        DataError: the grids do not overlap.
    """
    target = {a: like[a].values.astype("float64") for a in ("latitude", "longitude")}
    own = dataset["longitude"].values.astype("float64")
    low = float(target["longitude"].min()) - 1e-6
    moved = wrapped(own, low) if own.max() < low or own.min() > target["longitude"].max() else own
    if not np.array_equal(moved, own):
        dataset = dataset.assign_coords(longitude=("longitude", moved, dataset["longitude"].attrs)).sortby("longitude")
    for axis, values in target.items():
        have = dataset[axis].values
        if values.max() < have.min() or values.min() > have.max():
            raise DataError(
                f"{label(dataset, axis)} is from {have.min():g} to {have.max():g}, the other grid from {values.min():g} to {values.max():g}: they do "
                "not overlap. Read the same region."
            )
    blocks = {a: round(abs(spacing(like, a)) / abs(spacing(dataset, a))) for a in target}
    blocks = {a: b for a, b in blocks.items() if b > 1}
    kept = {n: v.attrs for n, v in dataset.variables.items()}
    if blocks:
        # A block that is partly land is land: its mean would be that of a shore.
        partly = dataset.isnull().coarsen(blocks, boundary="trim").max()
        dataset = dataset.coarsen(blocks, boundary="trim").mean().where(~partly)
    out = dataset.interp({a: ("like_" + a, v) for a, v in target.items()}, method="linear")
    out = out.drop_vars([n for n in target if n in out.coords]).rename({"like_" + a: a for a in target})
    out = out.assign_coords({a: like[a] for a in target})
    for name in out.data_vars:
        out[name] = out[name].astype("float32").transpose(..., "latitude", "longitude").assign_attrs(kept[name])
    return out.assign_attrs(dataset.attrs)


def regrid_curvilinear(
    dataset: xarray.Dataset,
    latitude: Sequence[float] | np.ndarray,
    longitude: Sequence[float] | np.ndarray,
    *,
    names: dict[str, str] | None = None,
    within: float = 1.5,
) -> xarray.Dataset:
    """A dataset on a curvilinear grid (NEMO's ``nav_lat``, ``nav_lon``) on a regular one, by the nearest cell.

    Args:
        dataset: opened as it is stored or decoded; variables whose last two dimensions are those of the latitudes.
        latitude, longitude: the regular grid in degrees.
        names: of ``"latitude"`` and ``"longitude"`` where nothing tells.
        within: cells farther from any of the old ones than so many of their distances stay NaN (land, or outside).

    Returns:
        A dataset for :func:`leads.ocean.data.read_gridded`, attributes kept.

    Raises:
        DataError: no two-dimensional latitudes and longitudes. ShapeError: no variable on their dimensions.
    """
    from scipy.spatial import cKDTree

    found = [axis_name(dataset, a, names or {}) for a in ("latitude", "longitude")]
    if None in found or any(dataset[n].ndim != 2 for n in found) or dataset[found[0]].dims != dataset[found[1]].dims:
        raise DataError(
            f"{label(dataset)} has no latitude and longitude with two dimensions; its grid is regular, or names= is needed."
        )
    dims = dataset[found[0]].dims
    own = _points(
        dataset[found[0]].values.astype("float64").ravel(), dataset[found[1]].values.astype("float64").ravel()
    )
    lat, lon = np.asarray(latitude, dtype="float64"), np.asarray(longitude, dtype="float64")
    tree = cKDTree(own)
    # A cell's distance to its nearest neighbour, typical of the grid.
    scale = float(np.median(tree.query(own[:: max(1, len(own) // 2000)], k=2)[0][:, 1]))
    target = _points(*(a.ravel() for a in np.meshgrid(lat, lon, indexing="ij")))
    distance, index = tree.query(target)
    good = distance <= within * max(scale, 1e-12)
    out: dict[str, Any] = {}
    for name, v in dataset.data_vars.items():
        if name in found or v.dims[-2:] != dims:
            continue
        fill = [v.attrs[k] for k in ("_FillValue", "missing_value") if k in v.attrs]
        flat = v.values.reshape(*v.shape[:-2], -1)[..., index]
        empty: Any = np.nan if v.dtype.kind == "f" else (np.atleast_1d(fill[0])[0] if fill else None)
        if empty is None and not good.all():
            flat, empty = flat.astype("float64"), np.nan
        flat = np.where(good, flat, empty) if not good.all() else flat
        kept = v.dtype if v.dtype.kind != "f" and flat.dtype.kind != "f" else flat.dtype
        out[str(name)] = (
            (*v.dims[:-2], "latitude", "longitude"),
            flat.reshape(*v.shape[:-2], len(lat), len(lon)).astype(kept),
            v.attrs,
        )
    if not out:
        raise ShapeError(
            f"{label(dataset)} has no variable on {dims}; its variables are {', '.join(map(str, dataset.data_vars))}."
        )
    import xarray

    coords = {str(n): c for n, c in dataset.coords.items() if n not in found and not set(c.dims) & set(dims)}
    coords |= {
        "latitude": ("latitude", lat, {"units": "degrees_north", "standard_name": "latitude"}),
        "longitude": ("longitude", lon, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    return xarray.Dataset(out, coords, dataset.attrs)


def _points(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """On the unit sphere, ``(n, 3)``."""
    a, b = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], 1)

"""A data set cut into environments: in memory, lazily, or written to a store a few windows at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from leads.environments import Channel, Grid, Parameter
from leads.errors import DataError, FileError, UnknownNameError
from leads.ocean.data.opening import FILES, label
from leads.ocean.data.periods import Times, groups, step_of
from leads.ocean.data.placing import Place, places
from leads.ocean.data.quantities import QUANTITIES
from leads.ocean.data.regions import Regions, describe
from leads.ocean.data.windows import PARAMETERS, SECONDS, Windows, parameters_of
from leads.registry import nearest
from leads.trajectories import Trajectories
from leads.trajectories.files import to_xarray

if TYPE_CHECKING:
    import xarray

DAY_OF_YEAR = Parameter("day_of_year", "day", 1.0, 367.0, "middle of the season")


def cut(dataset: xarray.Dataset, spec: Regions) -> Windows:
    """Environments from gridded fields: every window (and season) is one.

    What is loaded is the windows; each chunk of the files is read once for all of them.

    Args:
        dataset: as :func:`leads.ocean.data.read_gridded` gives it: ``(time, latitude, longitude)``, NaN on land.
        spec: which windows and times.

    Returns:
        States ``(E, N, T, C, y, x)`` in float32 and SI units. Times count from the first frame of a trajectory.

    Raises:
        DataError: no window with enough sea, an empty box, gaps in time, periods of different lengths, grids that are not
            equally spaced; the file, the variable and the mend are named.
        UnknownNameError: a quantity that the dataset does not have.
    """
    plan = _Plan(dataset, spec)
    return plan.load(range(len(plan.rows)))


def cut_to_zarr(
    dataset: xarray.Dataset,
    spec: Regions,
    path: str | Path,
    transform: Callable[[Windows], Windows] | None = None,
) -> Path:
    """The same, written to a Zarr store ``spec.chunks`` windows at a time, so that memory is bounded by these.

    The store has the layout of :func:`leads.trajectories.save`: :func:`leads.trajectories.load` and
    :func:`leads.adapt_many` read it, the latter a chunk at a time. A store that was not finished is marked so and refused.

    Args:
        dataset, spec: as for :func:`cut`.
        path: of the store, ``.zarr``; nothing is there yet.
        transform: what is done to each part before it is written, e.g. ``lambda w: fitted.of(w).apply(w)`` for anomalies
            with the scale of ``fitted`` (:class:`leads.ocean.data.Anomalies`): models start from frames without NaN.

    Raises:
        FileError: something is at ``path`` already, or it cannot be written. Else as :func:`cut`.
    """
    import zarr

    path = Path(path)
    if path.suffix != ".zarr" or path.exists():
        raise FileError(f"{path} must end with .zarr and not exist yet. Choose another name, or remove what is there.")
    plan = _Plan(dataset, spec)
    e = len(plan.rows)
    names: list[str] = []
    try:
        for begin in range(0, e, spec.chunks):
            part = plan.load(range(begin, min(begin + spec.chunks, e)), whole=e)
            part = part if transform is None else transform(part)
            names.extend(part.names)
            labelled = to_xarray(part.trajectories).assign_coords(
                window_latitude=(("environment", "y"), part.latitude.numpy()),
                window_longitude=(("environment", "x"), part.longitude.numpy()),
                began=(("environment", "trajectory"), (part.began - np.datetime64("1950-01-01", "ns")) / np.timedelta64(1, "s"), {"units": "seconds since 1950-01-01", "long_name": "date of the first frame"}),
            )  # fmt: skip
            if begin == 0:
                wide = {
                    n: {"chunks": (min(spec.chunks, e), *v.shape[1:])}
                    for n, v in labelled.variables.items()
                    if v.dims[:1] == ("environment",) and v.ndim > 1
                }
                labelled = labelled.assign_attrs(complete=False)
                labelled.to_zarr(path, mode="w", consolidated=False, encoding=wide)  # fmt: skip
            else:
                fresh = labelled.drop_vars([n for n, v in labelled.variables.items() if "environment" not in v.dims])
                fresh.to_zarr(path, append_dim="environment", consolidated=False)
        zarr.open_group(path, mode="r+").attrs.update(complete=True, names=names)
    except OSError as error:
        raise FileError(f"Could not write {path}: {error}. Remove what is there and try again.") from error
    return path


class _Plan:
    """Which windows at which times; nothing is loaded but the map of the sea."""

    def __init__(self, dataset: xarray.Dataset, spec: Regions) -> None:
        have = [str(n) for n in dataset.data_vars]
        self.quantities = list(spec.quantities) or have
        for name in self.quantities:
            if name not in have:
                raise UnknownNameError(f"{label(dataset)} has no variable {name!r}. {nearest(name, have)}")
            if set(dataset[name].dims) != {"time", "latitude", "longitude"}:
                raise DataError(
                    f"{label(dataset, name)} has the dimensions {dataset[name].dims}; (time, latitude, longitude) are needed, as "
                    "leads.ocean.data.read_gridded gives them."
                )
        self.dataset, self.spec = dataset, spec
        self.ever = _ever_observed(dataset, self.quantities, spec.probe)
        self.places = places(dataset, spec, np.all(self.ever, axis=0))
        self.times = groups(dataset, spec)
        self.frames = min(t.frames.shape[1] for t in self.times)
        self.trajectories = max(len(t.frames) for t in self.times)
        self.rows: list[tuple[Place, Times]] = [(p, t) for t in self.times for p in self.places]
        self.step = step_of(dataset)

    def load(self, numbers: Any, whole: int | None = None) -> Windows:
        """The environments with these numbers, in one pass over the chunks that they need."""
        import dask

        rows = [self.rows[i] for i in numbers]
        lazy = []
        for place, _ in rows:
            index = {"latitude": _range(place.rows), "longitude": _range(place.columns)}
            lazy.append(
                [self.dataset[q].isel(index).transpose("time", "latitude", "longitude").data for q in self.quantities]
            )
        # Frames are picked before anything is read: of a season, only its chunks.
        used = [np.unique(t.frames[t.frames >= 0]) for _, t in rows]
        try:
            loaded = dask.compute(*[[a[_range(u)] for a in arrays] for arrays, u in zip(lazy, used, strict=True)])
        except (OSError, ValueError, RuntimeError) as error:
            raise FileError(
                f"{label(self.dataset)} cannot be read: {error}. A file is truncated or damaged; fetch it again."
            ) from error
        e, c, n, t = len(rows), len(self.quantities), self.trajectories, self.frames
        y, x = len(rows[0][0].rows), len(rows[0][0].columns)
        states = np.full((e, n, t, c, y, x), np.nan, dtype="float32")
        began = np.full((e, n), np.datetime64("NaT", "ns"))
        for i, (_, times) in enumerate(rows):
            table = times.frames[:, :t]
            here, hit = np.searchsorted(used[i], np.maximum(table, used[i][0])), table >= 0
            for k in range(c):
                values = np.asarray(loaded[i][k], dtype="float32")[here]
                values[~hit] = np.nan
                states[i, : len(table), :, k] = values
            began[i, : len(table)] = times.began
        return self._windows(rows, states, began, e if whole is None else whole)

    def _windows(self, rows: list[tuple[Place, Times]], states: np.ndarray, began: np.ndarray, whole: int) -> Windows:
        latitude = torch.from_numpy(
            np.stack([self.dataset["latitude"].values.astype("float64")[p.rows] for p, _ in rows])
        )
        longitude = torch.from_numpy(np.stack([p.longitude for p, _ in rows]))
        parameters = parameters_of(latitude, longitude)
        specs: tuple[Parameter, ...] = PARAMETERS
        if self.spec.seasons and self.spec.apart:
            specs = (*specs, DAY_OF_YEAR)
            parameters = torch.cat([parameters, torch.tensor([[_day_of_year(t, self.step)] for _, t in rows])], 1)
        observed = torch.isfinite(torch.from_numpy(states))
        unit = SECONDS[self.spec.time_unit]
        names = tuple(f"{p.name} {t.name}".strip() for p, t in rows)
        spacing = tuple(float((a[0, -1] - a[0, 0]) / (a.shape[1] - 1)) for a in (latitude, longitude))
        attributes: dict[str, Any] = {"family": "ocean windows", "time_units": self.spec.time_unit}
        if len(self.times) == 1 and len(self.times[0].began) == 1:
            attributes["time_origin"] = str(self.times[0].began[0])
        trajectories = Trajectories(
            torch.from_numpy(states),
            torch.arange(self.frames, dtype=torch.float64) * (self.step / unit),
            parameters,
            observed,
            channels=tuple(Channel(q, self.dataset[q].attrs.get("units", QUANTITIES[q].unit if q in QUANTITIES else "1"), self.dataset[q].attrs.get("long_name", q)) for q in self.quantities),
            parameter_specs=specs,
            grid=Grid(tuple(states.shape[-2:]), spacing, ("y", "x"), "degrees", periodic=False),
            attributes=attributes,
        )  # fmt: skip
        sea = torch.from_numpy(np.stack([self.ever[:, p.rows][:, :, p.columns] for p, _ in rows]))
        kept = {FILES: self.dataset.attrs.get(FILES), "regions": dict(describe(self.spec)), "windows": whole}
        return Windows(trajectories, latitude, longitude, began, sea, names, kept)


def _ever_observed(dataset: xarray.Dataset, quantities: list[str], probe: int) -> np.ndarray:
    """``(C, latitude, longitude)``: where each quantity is a number in some frame; chunk by chunk."""
    n = dataset.sizes["time"]
    frames = np.unique(np.linspace(0, n - 1, probe).round().astype(int)) if 0 < probe < n else slice(None)
    picked = dataset[quantities].isel(time=frames)
    try:
        found = picked.notnull().any("time").compute()
    except (OSError, ValueError, RuntimeError) as error:
        raise FileError(
            f"{label(dataset)} cannot be read: {error}. A file is truncated or damaged; fetch it again."
        ) from error
    return np.stack([found[q].transpose("latitude", "longitude").values for q in quantities])


def _range(index: np.ndarray) -> Any:
    """An index as a slice where it is one, which lazy arrays read without copies."""
    if len(index) and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def _day_of_year(times: Times, step: float) -> float:
    """Day of the year in the middle of a group's trajectories, as a mean on the circle."""
    middle = times.began + np.timedelta64(int(times.frames.shape[1] * step / 2), "s")
    day = (middle - middle.astype("datetime64[Y]")) / np.timedelta64(1, "D")
    angle = np.angle(np.exp(2j * np.pi * day / 365.25).mean()) % (2 * np.pi)
    return 1.0 + float(angle) * 365.25 / (2 * np.pi)

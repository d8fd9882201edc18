"""Trajectories as labelled data: xarray in memory, Zarr and NetCDF on disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from leads.environments import Channel, Parameter
from leads.errors import FileError, LeadsError
from leads.registry import nearest
from leads.trajectories.dataset import FORMAT, LEAD, OBSERVED, OPERATOR, about, from_xarray
from leads.trajectories.grids import cell_centres
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import xarray

SUFFIXES = (".nc", ".zarr")


def from_arrays(
    states: Any,
    times: Any,
    parameters: Any = None,
    mask: Any = None,
    channels: Sequence[str] = (),
    **attributes: Any,
) -> Trajectories:
    """Trajectories from arrays as people have them.

    Args:
        states: NumPy array or tensor ``(E, N, T, C, *X)``; integers are converted.
        times: ``(T,)``.
        parameters: ``(E, P)`` where known.
        mask: ``True`` where observed; by default everything is, and a NaN is an error.
        channels: names of the channels.
        attributes: provenance to carry along.
    """
    # Copies: an array may be a view that runs backwards, which a tensor cannot.
    x = torch.as_tensor(np.array(states))
    if not x.is_floating_point():
        x = x.double()
    return Trajectories(
        x,
        torch.as_tensor(np.array(times)).double(),
        None if parameters is None else torch.as_tensor(np.array(parameters)).double(),
        None if mask is None else torch.as_tensor(np.array(mask)).bool(),
        channels=tuple(Channel(name) for name in channels),
        attributes=attributes,
    )


def to_xarray(data: Trajectories) -> xarray.Dataset:
    """A dataset with one variable per channel and dimensions ``(environment, trajectory, time, *axes)``.

    Parameters become coordinates along ``environment``; where a mask is given, ``NAME_observed`` holds it. The
    observation operator is described in the attribute ``observation_operator``.
    """
    import xarray

    axes = data.grid.axes if data.grid else tuple(f"x{i}" for i in range(data.states.ndim - 4))
    channels = data.channels or tuple(Channel(f"channel{i}") for i in range(data.states.shape[3]))
    variables: dict[str, Any] = {}
    for i, channel in enumerate(channels):
        attrs = {"units": channel.unit, "long_name": channel.long_name or channel.name, "channel": i}
        variables[channel.name] = ((*LEAD, *axes), data.states[:, :, :, i].cpu().numpy(), attrs)
        if data.mask is not None:
            variables[channel.name + OBSERVED] = ((*LEAD, *axes), data.mask[:, :, :, i].cpu().numpy().astype("int8"))
    coordinates: dict[str, Any] = {"time": ("time", data.times.numpy(), {"long_name": "time"})}
    if data.parameters is not None:
        specs = data.parameter_specs or tuple(Parameter(f"parameter{i}") for i in range(data.parameters.shape[1]))
        for i, spec in enumerate(specs):
            attrs = {"units": spec.unit, "long_name": spec.long_name or spec.name, "parameter": i}
            attrs |= {"valid_min": spec.low, "valid_max": spec.high}
            coordinates[spec.name] = ("environment", data.parameters[:, i].numpy(), attrs)
    if data.grid is not None:
        for i, (axis, centres) in enumerate(zip(data.grid.axes, cell_centres(data), strict=True)):
            attrs = {"units": data.grid.unit, "spacing": data.grid.spacing[i], "periodic": int(data.grid.periodic)}
            coordinates[axis] = (axis, centres, attrs)
    attributes = {"leads_format": FORMAT, "provenance": json.dumps(data.attributes, default=str)}
    if data.operator is not None:
        attributes[OPERATOR] = json.dumps(data.operator.describe())
    return xarray.Dataset(variables, coordinates, attributes)


def save(data: Trajectories, path: str | Path) -> Path:
    """Write to ``path``, NetCDF (``.nc``) or Zarr (``.zarr``) by its suffix, whole or not at all.

    Raises:
        FileError: unknown suffix, or the file could not be written; what was there before is untouched.
    """
    path = Path(path)
    _suffix(path)
    return write_dataset(lambda: to_xarray(data), path)


def write_dataset(make: Callable[[], xarray.Dataset], path: Path, encoding: Mapping[str, Any] | None = None) -> Path:
    """Write what ``make`` gives as NetCDF (``.nc``) or else as Zarr, whole or not at all.

    Raises:
        FileError: it could not be made or written; what was there before is untouched.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".nc":
            make().to_netcdf(part, engine="h5netcdf", encoding=encoding)
            os.replace(part, path)
        else:
            make().to_zarr(part, mode="w", consolidated=False, encoding=encoding)
            _replace_folder(part, path)
    except (OSError, ValueError) as error:
        raise FileError(f"Could not write {path}: {error}. What was there before is untouched.") from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif part.exists():
            part.unlink()
    return path


def _replace_folder(new: Path, path: Path) -> None:
    """A folder cannot be replaced in one step: the old one steps aside first and comes back if the move fails."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def load(
    path: str | Path,
    *,
    units: Mapping[str, str] | None = None,
    periodic: bool | None = None,
    ignore_grid: bool = False,
) -> Trajectories:
    """Read what :func:`save` wrote, or any NetCDF or Zarr dataset of the same layout.

    Args:
        path: the file or store.
        units, periodic, ignore_grid: what files of others do not say, see :func:`from_xarray`.

    Raises:
        FileError: the file is missing, truncated or of another format.
        ShapeError, DataError, SettingsError: as :func:`from_xarray`.
    """
    import xarray

    path = Path(path)
    _suffix(path)
    if not path.exists():
        raise FileError(f"There is no dataset at {path}.")
    try:
        if path.suffix == ".nc":
            with xarray.open_dataset(path, engine="h5netcdf") as dataset, about(path):
                return from_xarray(dataset.load(), units=units, periodic=periodic, ignore_grid=ignore_grid)
        check_complete(path)
        with xarray.open_zarr(path, consolidated=False) as dataset, about(path):
            return from_xarray(dataset.load(), units=units, periodic=periodic, ignore_grid=ignore_grid)
    except LeadsError:
        raise
    except Exception as error:  # the readers below raise dozens of types for damaged files
        raise FileError(f"{path} is damaged, truncated or not a dataset of trajectories: {error}.") from error


def check_complete(path: Path) -> None:
    """Raise :class:`FileError` for a Zarr store that :func:`leads.trajectories.stream` has not finished."""
    head = path / "zarr.json"
    if head.exists() and json.loads(head.read_text()).get("attributes", {}).get("complete") is False:
        raise FileError(f"{path} is not complete: its chunks are still being made. Run the same call again to go on.")


def _suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise FileError(f"Trajectories are kept as .nc or .zarr, got {path.name!r}. {nearest(path.suffix, SUFFIXES)}")

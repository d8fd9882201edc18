"""Writing The Well's layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leads.errors import SettingsError
from leads.trajectories.formats.hdf5 import write_metadata
from leads.trajectories.formats.metadata import MASK, channel_names, named_parameters
from leads.trajectories.formats.well_fields import ORDERS, component_names
from leads.trajectories.grids import cell_centres
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import h5py

ROOT = ("simulation_parameters", "dataset_name", "grid_type", "n_spatial_dims", "n_trajectories")


def write_well(data: Trajectories, path: Path, dataset_name: str) -> None:
    """Write one environment to a new file."""
    import h5py

    space = data.states.shape[4:]
    axes = (
        list(data.grid.axes) if data.grid else list("xyz"[: len(space)] if len(space) <= 3 else _numbered(len(space)))
    )
    parameters = named_parameters(data)
    taken = sorted(set(parameters) & set(ROOT)) or ["time"] * ("time" in axes)
    if taken:
        raise SettingsError(f"The Well uses the name {taken[0]!r} itself. Rename that parameter or axis.")
    with h5py.File(path, "w") as file:
        write_metadata(file, data)
        file.attrs.update(parameters)
        file.attrs["simulation_parameters"] = _names(list(parameters))
        file.attrs["dataset_name"] = dataset_name
        file.attrs["grid_type"] = "cartesian"
        file.attrs["n_spatial_dims"] = len(space)
        file.attrs["n_trajectories"] = data.n_trajectories
        _write_dimensions(file, data, axes)
        _write_boundaries(file, data, axes)
        _write_scalars(file, parameters)
        _write_fields(file, data, axes)
        if data.mask is not None:
            file.create_dataset(MASK, data=data.mask[0].numpy().astype("uint8"))


def _numbered(count: int) -> list[str]:
    return [f"x{i}" for i in range(count)]


def _names(names: list[str]) -> np.ndarray:
    """A list of names as HDF5 keeps it, also when it is empty."""
    import h5py

    return np.array(names, dtype=h5py.string_dtype())


def _varying(item: h5py.Dataset | h5py.Group, sample: bool, time: bool) -> None:
    item.attrs["sample_varying"] = sample
    item.attrs["time_varying"] = time


def _write_dimensions(file: h5py.File, data: Trajectories, axes: list[str]) -> None:
    group = file.create_group("dimensions")
    group.attrs["spatial_dims"] = _names(axes)
    group.create_dataset("time", data=data.times.numpy()).attrs["sample_varying"] = False
    for axis, centres in zip(axes, cell_centres(data), strict=True):
        _varying(group.create_dataset(axis, data=centres), False, False)


def _write_boundaries(file: h5py.File, data: Trajectories, axes: list[str]) -> None:
    """The attribute ``boundary`` that the reader leaves, else periodic or open by the grid."""
    group = file.create_group("boundary_conditions")
    given = data.attributes.get("boundary")
    kinds = given if isinstance(given, dict) else {}
    for axis, count in zip(axes, data.states.shape[4:], strict=True):
        default = "periodic" if data.grid is not None and data.grid.periodic else "open"
        kind = str(kinds.get(axis, default)).upper()
        item = group.create_group(f"{axis}_{kind.lower()}")
        item.attrs["associated_dims"] = _names([axis])
        item.attrs["associated_fields"] = _names([])
        item.attrs["bc_type"] = kind
        _varying(item, False, False)
        mask = np.zeros(count, dtype=bool)
        mask[[0, -1]] = True
        item.create_dataset("mask", data=mask)


def _write_scalars(file: h5py.File, parameters: dict[str, float]) -> None:
    group = file.create_group("scalars")
    group.attrs["field_names"] = _names(list(parameters))
    for name, value in parameters.items():
        _varying(group.create_dataset(name, data=np.array([value])), False, False)


def _write_fields(file: h5py.File, data: Trajectories, axes: list[str]) -> None:
    names = channel_names(data)
    for order, fields in grouped(names, axes).items():
        group = file.create_group(f"t{order}_fields")
        group.attrs["field_names"] = _names(list(fields))
        for field, components in fields.items():
            part = data.states[0][:, :, [names.index(c) for c in components]].movedim(2, -1)
            tail = (len(axes),) * order
            dataset = group.create_dataset(field, data=part.reshape(*part.shape[:-1], *tail).numpy())
            dataset.attrs["dim_varying"] = np.ones(len(axes), dtype=bool)
            _varying(dataset, True, True)
            if order == 2:
                dataset.attrs["symmetric"] = dataset.attrs["antisymmetric"] = False


def grouped(names: tuple[str, ...], axes: list[str]) -> dict[int, dict[str, tuple[str, ...]]]:
    """Channels as scalar, vector and tensor fields: ``u_x, u_y`` on axes x, y are the vector ``u``."""
    found: dict[int, dict[str, tuple[str, ...]]] = {order: {} for order in ORDERS}
    left = list(names)
    for order in (2, 1):
        for field in dict.fromkeys(n.rsplit("_", 1)[0] for n in names if "_" in n):
            components = component_names(field, axes, order)
            if len(axes) > 1 and set(components) <= set(left):
                found[order][field] = components
                left = [n for n in left if n not in components]
    found[0] = {n: (n,) for n in left}
    return found

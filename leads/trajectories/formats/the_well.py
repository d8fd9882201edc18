"""The Well's HDF5 files (Ohana et al., NeurIPS 2024; data format at polymathic-ai.org/the_well/data_format)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from leads.environments import Channel
from leads.errors import DataError, FileError, ShapeError
from leads.trajectories.formats.format import Format, Source, formats
from leads.trajectories.formats.hdf5 import (
    environment_parameters,
    member,
    number,
    opened,
    read_metadata,
    take,
    texts,
)
from leads.trajectories.formats.metadata import MASK, Metadata
from leads.trajectories.formats.well_fields import fields_of, flag, load_fields
from leads.trajectories.formats.well_writer import write_well
from leads.trajectories.grids import uniform_grid
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import h5py


@formats.register("the_well")
class TheWell(Format):
    """One parameter set a file; fields in groups by their tensor order::

        @simulation_parameters, and each of them; @dataset_name, @grid_type, @n_spatial_dims, @n_trajectories
        dimensions/             @spatial_dims; time (T,), and the coordinates of each axis
        boundary_conditions/    @bc_type PERIODIC, WALL or OPEN on @associated_dims; mask
        scalars/                @field_names; numbers
        t0_fields/              @field_names; each (N, T, *X), less the axes it does not vary along
        t1_fields/, t2_fields/  the same, with one or two more axes of D components

    Channels are the fields that vary in time, scalars first; the components of a vector are named ``velocity_x``, those
    of a tensor ``stress_xy``, as The Well names them. Parameters are ``simulation_parameters`` and the ``scalars``
    that vary neither in time nor between trajectories; other scalars are listed as the attribute ``not_read``.
    Constant fields are left out and listed there too, unless asked for. The boundary of each axis is the attribute
    ``boundary``; a grid is periodic when all its axes are.

    Written are fields in the precision of the states (The Well's own are float32), channels called ``NAME_x``,
    ``NAME_y``, ... for all axes as one vector, and with ``n_spatial_dims`` 0 states without space. Units, ranges, a
    mask and provenance have no place in the layout: they are written as the attribute ``leads`` and the dataset
    ``leads/mask``, which The Well's loader passes over. Without a grid, the numbers of the cells are the coordinates.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".hdf5", ".h5")
    one_each: ClassVar[bool] = True

    def recognises(self, path: Path) -> bool:
        with opened(path) as file:
            return "dimensions" in file and "t0_fields" in file

    def inspect(  # type: ignore[override]
        self, path: Path, constant_fields: bool = False, ignore_grid: bool = False
    ) -> Source:
        """Inspect a file.

        Args:
            path: the file.
            constant_fields: read fields that do not vary in time as channels, repeated in every frame.
            ignore_grid: read no grid, e.g. where the coordinates are not uniform.
        """
        with opened(path) as file:
            dimensions = member(file, "dimensions", path, "group")
            axes = texts(dimensions.attrs.get("spatial_dims", []))
            times = _common(member(dimensions, "time", path), path)
            coordinates = {a: _common(member(dimensions, a, path), path) for a in axes}
            known = read_metadata(file, path)
            space = tuple(len(x) for x in coordinates.values())
            n = number(file.attrs.get("n_trajectories", []))
            if n is None:
                raise FileError(f"{path} lacks the attribute 'n_trajectories' of The Well's layout.")
            leading = (int(n), len(times))
            fields = fields_of(file, path, axes, leading, space)
            chosen = [f for f in fields if f.in_time or constant_fields]
            if not chosen:
                raise FileError(
                    f"{path} has no field that varies in time; pass constant_fields=True to read the others."
                )
            values, other = _scalars(file, path)
            parameters, specs = environment_parameters(values, known, path)
            boundary = _boundary(file, axes)
            attributes: dict[str, Any] = {"dataset_name": (texts(file.attrs.get("dataset_name", "")) or [""])[0]}
        names = tuple(name for f in chosen for name in f.components)
        if known is None:
            skipped = [f"{f.group}/{f.name}" for f in fields if f not in chosen] + other
            attributes |= {"boundary": boundary} | ({"not_read": skipped} if skipped else {})
            periodic = set(boundary.values()) == {"periodic"}
            grid = None
            if axes and not ignore_grid:
                grid, origin = uniform_grid(coordinates, path, "1", periodic)
                attributes |= origin
        else:
            grid, attributes = None if ignore_grid else known.grid, known.attributes
        order, channels = _order(names, known, path)

        def load(_: np.ndarray, trajectories: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            with opened(path) as file:
                states = load_fields(file, path, chosen, trajectories, frames, space)
                mask = take(file[MASK], trajectories, frames) != 0 if MASK in file else None
            return states[:, :, order][None], None if mask is None else mask[None]

        shape = (1, *leading, len(names), *space)
        return Source(path, shape, times.astype("float64"), channels, load, parameters, specs, grid, attributes)

    def write(self, data: Trajectories, path: Path, dataset_name: str | None = None) -> None:  # type: ignore[override]
        """Write one environment.

        Args:
            data: one environment.
            path: the new file.
            dataset_name: by default the attribute ``dataset_name`` or ``family`` of the data.
        """
        name = dataset_name or data.attributes.get("dataset_name") or data.attributes.get("family") or "leads"
        write_well(data, path, str(name))


def _common(dataset: h5py.Dataset, path: Path) -> np.ndarray:
    """Coordinates that all trajectories share.

    Raises:
        DataError: they differ between trajectories.
        ShapeError: they are not a list.
    """
    values = dataset[()]
    if flag(dataset, "sample_varying", False) and values.ndim == 2:
        if not np.array_equal(values, np.broadcast_to(values[:1], values.shape)):
            raise DataError(
                f"{dataset.name} of {path} differs between trajectories; leads needs one grid and one set of times."
            )
        values = values[0]
    if values.ndim != 1:
        raise ShapeError(f"{dataset.name} of {path} has shape {values.shape}, expected one axis.")
    return values


def _scalars(file: h5py.File, path: Path) -> tuple[dict[str, float], list[str]]:
    """Parameters of the environment, and names of the scalars that are none."""
    values: dict[str, float] = {}
    other = []
    for name in texts(file.attrs.get("simulation_parameters", [])):
        value = number(file.attrs[name]) if name in file.attrs else None
        if value is not None:
            values[name] = value
    group = file.get("scalars")
    for name in texts(group.attrs.get("field_names", [])) if group is not None else []:
        scalar = member(group, name, path)
        constant = not flag(scalar, "time_varying", False) and not flag(scalar, "sample_varying", False)
        value = number(scalar[()]) if constant else None
        if value is None:
            other.append(f"scalars/{name}")
        else:
            values.setdefault(name, value)
    return values, other


def _boundary(file: h5py.File, axes: list[str]) -> dict[str, str]:
    """Type of the boundary along each axis, ``open`` where none is given, as The Well takes it."""
    kinds = dict.fromkeys(axes, "open")
    for item in (file.get("boundary_conditions") or {}).values():
        for axis in texts(item.attrs.get("associated_dims", [])):
            kind = texts(item.attrs.get("bc_type", []))
            if axis in kinds and kind:
                kinds[axis] = kind[0].lower()
    return kinds


def _order(names: tuple[str, ...], known: Metadata | None, path: Path) -> tuple[list[int], tuple[Channel, ...]]:
    """Places of the channels among the fields: as in the file, or as the data were that leads wrote."""
    if known is None:
        return list(range(len(names))), tuple(Channel(name) for name in names)
    if sorted(names) != sorted(known.names):
        missing = sorted(set(known.names) - set(names)) or sorted(set(names) - set(known.names))
        raise FileError(f"{path} was changed after leads wrote it: the field {missing[0]!r} does not fit its metadata.")
    return [names.index(name) for name in known.names], known.channels

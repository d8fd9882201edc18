"""PDEBench's files of whole arrays: one dataset ``(N, T, *X)`` a channel, coordinates beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leads.errors import FileError, SettingsError, ShapeError
from leads.registry import nearest
from leads.trajectories.formats.hdf5 import member, opened, read_metadata, take
from leads.trajectories.formats.metadata import MASK, channel_names
from leads.trajectories.formats.pdebench_content import AXES, Content, check_axes, check_times
from leads.trajectories.grids import cell_centres
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import h5py

#: Variables of the compressible Navier-Stokes sets in the order in which PDEBench stacks them.
COMPRESSIBLE = ("density", "pressure", "Vx", "Vy", "Vz")


def variables_of(file: h5py.File) -> list[str]:
    """Datasets that can be a channel: at least three axes, PDEBench's own names first and in its order."""
    found = [name for name, item in file.items() if getattr(item, "ndim", 0) >= 3]
    return sorted(found, key=lambda n: (COMPRESSIBLE.index(n) if n in COMPRESSIBLE else len(COMPRESSIBLE), n))


def inspect_tensor(file: h5py.File, path: Path, variables: Sequence[str] | None) -> Content:
    """The one variable ``tensor``."""
    if variables is not None:
        raise SettingsError(f"{path} is in the layout 'tensor', which has one variable; 'variables' cannot choose.")
    return _inspect(file, path, {"tensor": "u"})


def inspect_variables(file: h5py.File, path: Path, variables: Sequence[str] | None) -> Content:
    """One dataset a channel."""
    found = variables_of(file)
    known = read_metadata(file, path)
    chosen = tuple(variables or (known.names if known else found))
    for name in chosen:
        if name not in found:
            raise FileError(f"{path} lacks the variable {name!r}. {nearest(name, found)}")
    if not chosen:
        raise FileError(f"{path} has no dataset of at least three axes (N, T, *X) to be a channel.")
    if variables is None and known is None and set(chosen) & set(COMPRESSIBLE):
        expected = COMPRESSIBLE[: member(file, chosen[0], path).ndim]
        missing = [name for name in expected if name not in chosen]
        if missing:
            raise FileError(
                f"{path} lacks {', '.join(missing)} of the compressible variables {', '.join(expected)}. It may be "
                f"incomplete; to read the others only, pass variables={list(chosen)}."
            )
    places = [known.names.index(name) for name in chosen] if known and set(chosen) <= set(known.names) else None
    return _inspect(file, path, {name: name for name in chosen}, places)


def _inspect(file: h5py.File, path: Path, datasets: dict[str, str], places: Sequence[int] | None = None) -> Content:
    """Content of the given datasets; ``places`` are those of their channels in the mask, by default all in order."""
    first, *others = datasets
    shape = member(file, first, path).shape
    if not 3 <= len(shape) <= 2 + len(AXES):
        raise ShapeError(f"{first!r} of {path} has shape {shape}, expected (N, T, *X) with one to three space axes.")
    for name in others:
        if member(file, name, path).shape != shape:
            raise ShapeError(f"In {path}, {name!r} has shape {file[name].shape} but {first!r} has {shape}.")
    axes = {a: member(file, f"{a}-coordinate", path)[()] for a in AXES[: len(shape) - 2]}
    check_axes(axes, shape[2:], repr(first), path)
    steady = shape[1] == 1 and "t-coordinate" not in file
    times = np.zeros(1) if steady else check_times(member(file, "t-coordinate", path)[()], shape[1], path)

    def load(_: np.ndarray, trajectories: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        with opened(path) as file:
            parts = [take(member(file, name, path), trajectories, frames) for name in datasets]
            mask = take(file[MASK], trajectories, frames) != 0 if MASK in file else None
        if mask is not None and places is not None:
            mask = mask[:, :, places]
        return np.stack(parts, axis=2)[None], None if mask is None else mask[None]

    return Content((1, *shape[:2], len(datasets), *shape[2:]), times, tuple(datasets.values()), axes, load)


def write_tensor(data: Trajectories, file: h5py.File) -> None:
    """One channel as ``tensor``."""
    if data.states.shape[3] != 1:
        raise SettingsError(
            f"The layout 'tensor' holds one channel, the states have {data.states.shape[3]}. Choose 'variables'."
        )
    _write(data, file, ("tensor",))


def write_variables(data: Trajectories, file: h5py.File) -> None:
    """One dataset a channel, under its name."""
    names = channel_names(data)
    taken = [n for n in names if n.endswith("-coordinate") or n == "tensor"]
    if taken:
        raise SettingsError(f"PDEBench uses the name {taken[0]!r} itself; rename that channel, or choose 'samples'.")
    _write(data, file, names)


def _write(data: Trajectories, file: h5py.File, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        file.create_dataset(name, data=data.states[0, :, :, i].numpy())
    for axis, centres in zip(AXES, cell_centres(data), strict=False):
        file.create_dataset(f"{axis}-coordinate", data=centres)
    file.create_dataset("t-coordinate", data=data.times.numpy())
    if data.mask is not None:
        file.create_dataset(MASK, data=data.mask[0].numpy().astype("uint8"))

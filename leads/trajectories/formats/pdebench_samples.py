"""PDEBench's files of samples: a group ``0000``, ``0001``, ... a trajectory, each with its data and its grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import DataError, SettingsError, ShapeError
from leads.trajectories.formats.hdf5 import member, opened, take, texts
from leads.trajectories.formats.pdebench_content import AXES, Content, check_axes, check_times
from leads.trajectories.grids import cell_centres
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import h5py

MASK = "leads_mask"


def numbered(file: h5py.File) -> list[str]:
    """Names of the samples in their order: groups called by a number."""
    return sorted((name for name in file if name.isdecimal() and "data" in file[name]), key=lambda n: (int(n), n))


def inspect(file: h5py.File, path: Path, variables: Sequence[str] | None) -> Content:
    """All samples as trajectories; grid and times of the first, to which the others must agree when they are read."""
    if variables is not None:
        raise SettingsError(f"{path} is in the layout 'samples', whose channels have no names to choose by.")
    names = numbered(file) or ["0000"]
    first = member(file, names[0], path, "group")
    shape = member(first, "data", path).shape
    if not 3 <= len(shape) <= 2 + len(AXES):
        raise ShapeError(f"{names[0]}/data of {path} has shape {shape}, expected (T, *X, C), one to three space axes.")
    space = shape[1:-1]
    grid = member(first, "grid", path, "group")
    axes = {a: member(grid, a, path)[()] for a in AXES[: len(space)]}
    check_axes(axes, space, f"{names[0]}/data", path)
    times = member(grid, "t", path)[()]

    def load(_: np.ndarray, trajectories: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        states: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        with opened(path) as file:
            chosen = [member(file, names[i], path, "group") for i in trajectories]
            for group in chosen:
                _check(group, path, names[0], shape, {**axes, "t": times})
            for group in chosen:
                states.append(np.moveaxis(take(group["data"], frames), -1, 1))
                if MASK in group:
                    masks.append(np.moveaxis(take(group[MASK], frames), -1, 1) != 0)
        return np.stack(states)[None], np.stack(masks)[None] if len(masks) == len(states) else None

    return Content(
        (1, len(names), shape[0], shape[-1], *space),
        check_times(times, shape[0], path),
        tuple(f"channel{i}" for i in range(shape[-1])),
        axes,
        load,
        _config(first),
    )


def _config(group: h5py.Group) -> dict[str, Any]:
    found = texts(group.attrs.get("config", []))
    return {"config": found[0]} if found else {}


def _check(
    group: h5py.Group, path: Path, first: str, shape: tuple[int, ...], coordinates: dict[str, np.ndarray]
) -> None:
    found = member(group, "data", path).shape
    if found != shape:
        raise ShapeError(f"In {path}, {group.name}/data has shape {found} but that of /{first} has {shape}.")
    grid = member(group, "grid", path, "group")
    for name, expected in coordinates.items():
        values = member(grid, name, path)[()]
        if values.shape != expected.shape or not np.allclose(values, expected, rtol=1e-6, atol=0):
            raise DataError(
                f"In {path}, {group.name}/grid/{name} differs from that of /{first}. Trajectories share one grid and "
                "one set of times: choose those that agree by trajectories=[...]."
            )


def write(data: Trajectories, file: h5py.File) -> None:
    """One group a trajectory."""
    times, centres = data.times.numpy(), cell_centres(data)
    for n in range(data.states.shape[1]):
        group = file.create_group(f"{n:04d}")
        group.create_dataset("data", data=data.states[0, n].movedim(1, -1).numpy())
        if data.mask is not None:
            group.create_dataset(MASK, data=data.mask[0, n].movedim(1, -1).numpy().astype("uint8"))
        group.create_dataset("grid/t", data=times)
        for axis, x in zip(AXES, centres, strict=False):
            group.create_dataset(f"grid/{axis}", data=x)

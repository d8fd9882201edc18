"""Fields of The Well: their axes, their components, and how to read a part of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.errors import ShapeError
from leads.trajectories.formats.hdf5 import member, take, texts

if TYPE_CHECKING:
    import h5py

ORDERS = (0, 1, 2)


@dataclass(frozen=True)
class Field:
    """One dataset: the axes it has of ``(N, T, *X)``, and the names of its components."""

    group: str
    name: str
    components: tuple[str, ...]
    in_samples: bool
    in_time: bool
    along: tuple[bool, ...]


def flag(item: h5py.Dataset, name: str, default: bool) -> bool:
    """A true-or-false attribute."""
    return bool(np.asarray(item.attrs.get(name, default)).all())


def component_names(field: str, axes: list[str], order: int) -> tuple[str, ...]:
    """``velocity_x, velocity_y`` for order 1, ``stress_xx, stress_xy, ...`` for order 2."""
    if order == 0:
        return (field,)
    return tuple(f"{field}_{''.join(c)}" for c in product(axes, repeat=order))


def fields_of(
    file: h5py.File, path: Path, axes: list[str], leading: tuple[int, int], space: tuple[int, ...]
) -> list[Field]:
    """All fields, by order.

    Raises:
        FileError: a field that a group names is missing.
        ShapeError: a field whose shape does not fit the dimensions.
    """
    found = []
    for order in ORDERS:
        group = member(file, f"t{order}_fields", path, "group") if order == 0 else file.get(f"t{order}_fields")
        for name in texts(group.attrs.get("field_names", [])) if group is not None else []:
            dataset = member(group, name, path)
            along: Any = np.asarray(dataset.attrs.get("dim_varying", [True] * len(axes)), dtype=bool).reshape(-1)
            field = Field(
                f"t{order}_fields",
                name,
                component_names(name, axes, order),
                flag(dataset, "sample_varying", True),
                flag(dataset, "time_varying", True),
                tuple(along.tolist()),
            )
            _check(dataset, field, path, leading, space)
            found.append(field)
    return found


def _check(dataset: h5py.Dataset, field: Field, path: Path, leading: tuple[int, int], space: tuple[int, ...]) -> None:
    """An axis that a field does not vary along may be missing or of one entry; two axes of components may be one."""
    head = tuple(n for n, has in zip(leading, (field.in_samples, field.in_time), strict=True) if has)
    size = len(field.components)
    d = len(space)
    tails = [(d, d), (size,)] if field.group == "t2_fields" else [(size,)] if field.group == "t1_fields" else [()]
    if len(field.along) == d:
        short = tuple(n for n, has in zip(space, field.along, strict=True) if has)
        full = tuple(n if has else 1 for n, has in zip(space, field.along, strict=True))
        if any(dataset.shape in (head + short + t, head + full + t) for t in tails):
            return
    raise ShapeError(
        f"{dataset.name} of {path} has shape {dataset.shape}, but the file's dimensions (trajectories, times, space) "
        f"{(*leading, *space)} and its attributes (sample_varying {field.in_samples}, time_varying {field.in_time}, "
        f"dim_varying {field.along}) ask for {head + short + tails[0] if len(field.along) == d else 'others'}."
    )


def load_fields(
    file: h5py.File,
    path: Path,
    fields: list[Field],
    trajectories: np.ndarray,
    frames: np.ndarray,
    space: tuple[int, ...],
) -> np.ndarray:
    """States ``(n, t, C, *X)`` of the chosen trajectories and frames."""
    parts = []
    for field in fields:
        dataset = member(file[field.group], field.name, path)
        index = [i for i, has in ((trajectories, field.in_samples), (frames, field.in_time)) if has]
        part = take(dataset, *index)
        head = tuple(len(i) if has else 1 for i, has in ((trajectories, field.in_samples), (frames, field.in_time)))
        body = tuple(n if has else 1 for n, has in zip(space, field.along, strict=True))
        part = np.moveaxis(part.reshape(*head, *body, len(field.components)), -1, 2)
        parts.append(np.broadcast_to(part, (len(trajectories), len(frames), len(field.components), *space)))
    return np.concatenate(parts, axis=2)

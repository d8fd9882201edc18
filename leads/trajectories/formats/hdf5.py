"""HDF5 files of other projects: opened with clear errors, read in parts, their attributes decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.environments import Parameter
from leads.errors import DataError, FileError, LeadsError
from leads.registry import nearest
from leads.trajectories.formats.metadata import KEY, Metadata, describe, parse
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import h5py

#: HDF5 keeps an attribute in the header of its object, which holds 64 KiB.
LARGEST_ATTRIBUTE = 60_000


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading.

    Raises:
        FileError: it is missing, truncated or no HDF5 file, also when that shows only while it is read.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except LeadsError:
        raise
    except (OSError, RuntimeError) as error:
        raise FileError(f"{path} is damaged, truncated or not an HDF5 file: {error}.") from error


def member(group: h5py.Group, name: str, path: Path, kind: str = "dataset") -> Any:
    """The dataset or group called ``name``.

    Raises:
        FileError: it is missing; what is there is said.
    """
    item = group.get(name)
    if item is None or (kind == "dataset") != hasattr(item, "shape"):
        have = sorted(group)
        shown = ", ".join(have[:12]) + (", ..." if len(have) > 12 else "")
        where = group.name if group.name != "/" else "its root"
        raise FileError(f"{path} lacks the {kind} {name!r} in {where}, which holds {shown or 'nothing'}.")
    return item


def take(data: h5py.Dataset, *axes: np.ndarray) -> np.ndarray:
    """The given positions along the leading axes; nothing else is read from the file.

    HDF5 reads slices of positive step, or lists of increasing positions, so any other order is restored afterwards.
    """
    wanted, order = zip(*(_increasing(a) for a in axes), strict=True) if axes else ((), ())
    part = floats(data[wanted], data.name)
    for axis, positions in enumerate(order):
        part = part if positions is None else np.take(part, positions, axis)
    return part


def _increasing(index: np.ndarray) -> tuple[slice | list[int], np.ndarray | None]:
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    if step > 0 and bool((np.diff(index) == step).all()):
        return slice(int(index[0]), int(index[-1]) + 1, step), None
    unique, positions = np.unique(index, return_inverse=True)
    return unique.tolist(), positions


def floats(values: Any, name: str) -> np.ndarray:
    """As floating point in the machine's byte order, in the precision of the file where torch has it, else float64."""
    array = np.asarray(values)
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} holds {array.dtype}, not real numbers.")
    return array.astype("float64")


def texts(value: Any) -> list[str]:
    """The strings of an attribute that holds one string or a list, as bytes or as text."""
    items = np.asarray(value, dtype=object).reshape(-1).tolist() if not hasattr(value, "id") else []
    return [i.decode() if isinstance(i, bytes) else i for i in items if isinstance(i, (str, bytes))]


def number(value: Any) -> float | None:
    """The number that an attribute or a dataset of one entry holds, or ``None`` for anything else."""
    array = np.asarray(value)
    return float(array.reshape(())) if array.size == 1 and array.dtype.kind in "fiu" else None


def write_metadata(file: h5py.File, data: Trajectories) -> None:
    """Add what the layout has no place for as the attribute ``leads``.

    Raises:
        DataError: the metadata are larger than an HDF5 attribute can be.
    """
    text = describe(data)
    if len(text.encode()) > LARGEST_ATTRIBUTE:
        raise DataError(
            f"The attributes of the data take {len(text.encode())} bytes, an HDF5 attribute holds {LARGEST_ATTRIBUTE}. "
            "Shorten data.attributes."
        )
    file.attrs[KEY] = text


def read_metadata(file: h5py.File, path: Path) -> Metadata | None:
    """What :func:`write_metadata` added, or ``None`` in files of others."""
    found = texts(file.attrs.get(KEY, []))
    return parse(found[0], path) if found else None


def environment_parameters(
    values: dict[str, float], known: Metadata | None, path: Path
) -> tuple[np.ndarray | None, tuple[Parameter, ...]]:
    """Parameters ``(1, P)`` of the file's one environment, and their descriptions."""
    if known is None:
        if not values:
            return None, ()
        return np.array([list(values.values())]), tuple(Parameter(name) for name in values)
    missing = [name for name in known.parameter_names if name not in values]
    if missing:
        raise FileError(f"{path} lacks the parameter {missing[0]!r}. {nearest(missing[0], values)}")
    if not known.parameter_names:
        return None, known.parameter_specs
    return np.array([[values[name] for name in known.parameter_names]]), known.parameter_specs

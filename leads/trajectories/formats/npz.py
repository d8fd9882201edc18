"""NumPy archives: shapes read before arrays, nothing that was pickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from leads.errors import FileError, LeadsError
from leads.registry import nearest

Headers = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


def headers(path: Path) -> Headers:
    """Shape and type of every array of an archive, without reading the arrays.

    Raises:
        FileError: missing, truncated, no archive, or with a pickled array: unpickling can run any program.
    """
    found: Headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for item in archive.namelist():
                with archive.open(item) as stream:
                    version = np.lib.format.read_magic(stream)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(stream)
                name = item.removesuffix(".npy")
                if dtype.hasobject:
                    raise FileError(
                        f"The array {name!r} of {path} is pickled. It is not read, because unpickling can run any "
                        "program. Save it again as numbers, e.g. np.savez(path, X=np.stack(list_of_arrays))."
                    )
                found[name] = (tuple(shape), dtype)
    except LeadsError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FileError(f"{path} is damaged, truncated or not a NumPy archive (.npz): {error}.") from error
    return found


def array(path: Path, name: str) -> np.ndarray:
    """One array of an archive."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise FileError(f"The array {name!r} of {path} is damaged or truncated: {error}.") from error


def shape_of(found: Headers, name: str, path: Path) -> tuple[int, ...]:
    """Shape of an array.

    Raises:
        FileError: there is none of that name; those there are, are said.
    """
    if name not in found:
        raise FileError(f"{path} lacks the array {name!r}; it holds {', '.join(sorted(found))}. {nearest(name, found)}")
    return found[name][0]


def write_archive(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A new archive of plain arrays; stored, not compressed, since states hardly compress."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(values), allow_pickle=False)

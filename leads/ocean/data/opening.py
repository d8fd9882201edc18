"""Files opened one by one, each error with the file, the variable and the mend."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leads.errors import DataError, FileError, LeadsError, SettingsError
from leads.registry import nearest

if TYPE_CHECKING:
    import xarray

#: What a dataset remembers of the files that it came from.
FILES = "source_files"


def label(dataset: xarray.Dataset, variable: str = "") -> str:
    """How messages name a dataset: its file, or what it is; and a variable of it."""
    source = dataset.attrs.get(FILES) or dataset.encoding.get("source") or "The dataset"
    source = source if isinstance(source, str) else ", ".join(map(str, source))
    source = source if len(source) < 200 else source[:80] + " ... " + source[-80:]
    return f"{source}: {variable}" if variable else source


def as_list(paths: Any) -> list[Any]:
    """Paths and datasets as a list; a pattern with ``*`` becomes the files that match, in the order of their names.

    Raises:
        FileError: a pattern that nothing matches, or an empty list.
    """
    import xarray

    if isinstance(paths, xarray.Dataset):
        return [paths]
    if isinstance(paths, (str, os.PathLike)):
        text = os.fspath(paths)
        if any(c in text for c in "*?["):
            folder = Path(text).parent
            found = sorted(folder.glob(Path(text).name))
            if not found:
                raise FileError(
                    f"No file matches {text}. Files of a day are named like dt_med_allsat_phy_l4_20160515_*.nc."
                )
            return list(found)
        return [Path(text)]
    found = list(paths)
    if not found:
        raise FileError("There are no files to read: the list is empty. Give at least one path or dataset.")
    return found


def opened(path: Any, chunks: Any = None) -> xarray.Dataset:
    """A dataset as it is stored: neither scaled nor with dates, but lazy.

    Args:
        path: a NetCDF file, a Zarr store, or a dataset (which is taken as it is).
        chunks: of Dask; by default those of the file.

    Raises:
        FileError: there is nothing, or it is truncated or of another format.
    """
    import xarray

    if isinstance(path, xarray.Dataset):
        return path
    path = Path(path)
    if not path.exists():
        raise FileError(f"There is no file {path}. Check the path and the working directory ({Path.cwd()}).")
    chunks = {} if chunks is None else chunks
    try:
        if path.is_dir():
            with warnings.catch_warnings():  # of stores whose metadata stand in many small files
                warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated", RuntimeWarning)
                dataset = xarray.open_zarr(path, mask_and_scale=False, decode_times=False, chunks=chunks)
        else:
            dataset = xarray.open_dataset(
                path, engine="h5netcdf", mask_and_scale=False, decode_times=False, decode_coords=False, chunks=chunks
            )
        for name in dataset.dims:  # a file cut short may open and fail at the first value
            if name in dataset.variables:
                _ = dataset[name].values
    except LeadsError:
        raise
    except Exception as error:  # h5py, xarray and zarr raise many types for damaged files
        raise FileError(
            f"{path} is truncated, damaged or no NetCDF-4 or Zarr ({type(error).__name__}: {error}). Fetch it again, and compare its "
            f"size ({path.stat().st_size} bytes); files in NetCDF-3 become readable by `nccopy -k nc4 IN OUT`."
        ) from error
    dataset.encoding.setdefault("source", str(path))
    return dataset.assign_attrs({FILES: str(path)})


def loaded(variable: xarray.DataArray, what: str) -> Any:
    """Values of a lazy variable.

    Raises:
        FileError: they cannot be read: the file is cut short behind its header.
    """
    try:
        return variable.values
    except Exception as error:
        raise FileError(f"{what} cannot be read: {error}. The file is truncated or damaged; fetch it again.") from error


def cf(dataset: xarray.Dataset) -> Any:
    """cf-xarray's view of a dataset.

    Raises:
        SettingsError: the package is not installed.
    """
    try:
        import cf_xarray  # noqa: F401 (gives datasets their attribute cf)
    except ImportError as error:
        raise SettingsError(
            "Reading ocean data needs cf-xarray and dask, which are not installed: pip install 'leads-dynamics[ocean]'."
        ) from error
    return dataset.cf


def find_name(
    dataset: xarray.Dataset, what: str, names: Mapping[str, str], standard: Iterable[str], plain: Iterable[str]
) -> str | None:
    """The variable that is ``what``: as ``names`` says, else by CF's standard name, else by its own name.

    Raises:
        SettingsError: ``names`` names a variable that is not there. DataError: several have the standard name.
    """
    if what in names:
        if names[what] not in dataset.variables:
            raise SettingsError(
                f"{label(dataset)} has no variable {names[what]!r}, which names= gives for {what}. "
                f"{nearest(names[what], map(str, dataset.variables))}"
            )
        return names[what]
    plain = tuple(plain)
    lower = {str(n).lower(): str(n) for n in dataset.variables}
    for name in standard:
        found = [str(v) for v in cf(dataset).standard_names.get(name, [])]
        if len(found) > 1:
            own = [f for f in found if f.lower() in plain]
            if len(own) != 1:
                raise DataError(
                    f"{label(dataset)}: {', '.join(found)} all have the standard name {name}. Say which is {what}: "
                    f"names={{{what!r}: {found[0]!r}}}."
                )
            found = own
        if found:
            return found[0]
    return next((lower[n] for n in plain if n in lower), None)

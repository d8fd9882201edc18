"""The labelled data sets of :mod:`leads.trajectories.files`, NetCDF and Zarr, among the other formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from leads.errors import FileError, LeadsError, ShapeError
from leads.trajectories.files import LEAD, check_complete, from_xarray, save
from leads.trajectories.formats.format import Format, Source, formats
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import xarray


class Labelled(Format):
    """What :func:`leads.trajectories.save` writes, or any data set of that layout; only what is asked for is read."""

    def recognises(self, path: Path) -> bool:
        return path.suffix in self.suffixes

    def inspect(self, path: Path) -> Source:  # type: ignore[override]
        """Inspect a file; it has no settings."""
        with _opened(path) as dataset:
            missing = [d for d in LEAD if d not in dataset.dims]
            if missing:
                raise ShapeError(
                    f"{path} lacks the dimension(s) {', '.join(missing)}; it has {', '.join(map(str, dataset.dims))}."
                )
            one = {d: slice(0, 1) for d in LEAD}
            head, _ = _trajectories(dataset.isel(one))
            sizes = tuple(dataset.sizes[d] for d in LEAD)
            times = np.asarray(dataset["time"].values, dtype="float64")
            parameters = _trajectories(dataset.isel(trajectory=[0], time=[0]))[0].parameters

        def load(e: np.ndarray, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            with _opened(path) as dataset:
                part, masked = _trajectories(dataset.isel(dict(zip(LEAD, (e, n, k), strict=True))))
            return part.states.numpy(), part.mask.numpy() if masked and part.mask is not None else None

        return Source(
            path,
            (*sizes, *head.state_shape),
            times,
            head.channels,
            load,
            None if parameters is None else parameters.numpy(),
            head.parameter_specs,
            head.grid,
            head.attributes,
        )

    def write(self, data: Trajectories, path: Path) -> None:  # type: ignore[override]
        """Write all environments; see :func:`leads.trajectories.save`."""
        save(data, path)


@formats.register("netcdf")
class NetCDF(Labelled):
    """NetCDF, one file."""

    suffixes: ClassVar[tuple[str, ...]] = (".nc",)


@formats.register("zarr")
class Zarr(Labelled):
    """Zarr, a folder."""

    suffixes: ClassVar[tuple[str, ...]] = (".zarr",)


def _trajectories(part: xarray.Dataset) -> tuple[Trajectories, bool]:
    """A part of the data set, and whether it came with a mask; without one, NaNs are left to the caller to judge."""
    part = part.load()
    names = [str(n) for n in part.data_vars]
    masked = any(n.endswith("_observed") for n in names)
    if not masked:
        part = part.assign({f"{n}_observed": np.isfinite(part[n]) for n in names if set(LEAD) <= set(part[n].dims)})
    return from_xarray(part), masked


@contextmanager
def _opened(path: Path) -> Iterator[xarray.Dataset]:
    import xarray

    try:
        if path.suffix == ".nc":
            with xarray.open_dataset(path, engine="h5netcdf") as dataset:
                yield dataset
        else:
            check_complete(path)
            with xarray.open_zarr(path, consolidated=False, chunks=None) as dataset:
                yield dataset
    except LeadsError:
        raise
    except Exception as error:  # the readers below raise dozens of types for damaged files
        raise FileError(f"{path} is damaged, truncated or not a dataset of trajectories: {error}.") from error

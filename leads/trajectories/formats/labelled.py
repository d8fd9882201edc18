"""The labelled data sets of :mod:`leads.trajectories.files`, NetCDF and Zarr, among the other formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from leads.errors import FileError, LeadsError
from leads.trajectories.dataset import LEAD, OBSERVED, about, check_dimensions, from_xarray, sort_variables
from leads.trajectories.files import check_complete, save
from leads.trajectories.formats.format import Format, Source, formats
from leads.trajectories.times import times_of
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import xarray


class Labelled(Format):
    """What :func:`leads.trajectories.save` writes, or any data set of that layout; only what is asked for is read."""

    def recognises(self, path: Path) -> bool:
        return path.suffix in self.suffixes

    def inspect(  # type: ignore[override]
        self,
        path: Path,
        units: Mapping[str, str] | None = None,
        periodic: bool | None = None,
        ignore_grid: bool = False,
    ) -> Source:
        """Inspect a file; for the settings, what files of others do not say, see :func:`leads.trajectories.from_xarray`."""
        settings = {"units": units, "periodic": periodic, "ignore_grid": ignore_grid}
        with _opened(path) as dataset, about(path):
            check_dimensions(dataset)
            head, _ = _trajectories(dataset.isel({d: slice(0, 1) for d in LEAD}), settings)
            sizes = tuple(dataset.sizes[d] for d in LEAD)
            times, _ = times_of(dataset["time"])
            parameters = _trajectories(dataset.isel(trajectory=[0], time=[0]), settings)[0].parameters

        def load(e: np.ndarray, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            with _opened(path) as dataset, about(path):
                part, masked = _trajectories(dataset.isel(dict(zip(LEAD, (e, n, k), strict=True))), settings)
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


def _trajectories(part: xarray.Dataset, settings: dict[str, Any]) -> tuple[Trajectories, bool]:
    """A part of the data set, and whether it came with a mask; without one, NaNs are left to the caller to judge."""
    part = part.load()
    names, masked, _ = sort_variables(part)
    if not masked:
        part = part.assign({n + OBSERVED: np.isfinite(part[n]) for n in names})
    return from_xarray(part, **settings), bool(masked)


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

"""A fleet as a job: what is read, what is written, and the task of one chunk."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from leads.adaptation.fleets.chunk import fit_chunk
from leads.adaptation.fleets.store import write_fit
from leads.adaptation.settings import AdaptSettings
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, FileError, LeadsError
from leads.trajectories import Trajectories
from leads.trajectories.dataset import OBSERVED, from_xarray, sort_variables
from leads.trajectories.files import check_complete

if TYPE_CHECKING:
    import xarray

#: Most environments of a chunk: more are no faster, and a killed run loses what a chunk took.
MOST = 4096


@dataclass(frozen=True)
class Observations:
    """Observations of very many environments, in memory or in a file of which parts are read when they are needed."""

    content: Trajectories | Path

    def read(self, environments: range) -> Trajectories:
        """The observations of some environments; values of a file that are not finite count as not observed.

        Raises:
            FileError: the file is missing, incomplete or damaged.
            DataError, ShapeError: it holds what no trajectories are.
        """
        rows = slice(environments.start, environments.stop)
        if isinstance(self.content, Trajectories):
            return self.content.select(environments=rows)
        with self._open() as dataset:
            try:
                return from_xarray(_holes_marked(dataset.isel(environment=rows).load()))
            except LeadsError:
                raise
            except Exception as error:  # the readers below raise dozens of types for damaged files
                raise FileError(f"{self.content} is damaged: {error}.") from error

    @property
    def count(self) -> int:
        """E."""
        if isinstance(self.content, Trajectories):
            return self.content.n_environments
        with self._open() as dataset:
            return int(dataset.sizes.get("environment", 0))

    def identity(self) -> str:
        """A hash that tells these observations from others: all of those in memory, of a file its description, its
        parameters and its first and last environment."""
        digest = hashlib.sha256()
        if isinstance(self.content, Trajectories):
            parts = [self.content]
        else:
            with self._open() as dataset:
                digest.update(repr((dict(dataset.sizes), sorted(map(str, dataset.variables)))).encode())
                digest.update(json.dumps(dataset.attrs, default=str, sort_keys=True).encode())
            parts = [self.read(range(1)), self.read(range(self.count - 1, self.count))]
        for part in parts:
            for tensor in (part.states, part.times, part.mask, part.parameters):
                if tensor is not None:
                    digest.update(repr(tuple(tensor.shape)).encode())
                    digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    def _open(self) -> Any:
        import xarray

        path = Path(self.content)  # type: ignore[arg-type]
        if not path.exists():
            raise FileError(f"There is no dataset at {path}.")
        try:
            if path.suffix == ".nc":
                return xarray.open_dataset(path, engine="h5netcdf")
            check_complete(path)
            return xarray.open_zarr(path, consolidated=False)
        except LeadsError:
            raise
        except Exception as error:  # as in read
            raise FileError(f"{path} is damaged, truncated or not a dataset of trajectories: {error}.") from error


def _holes_marked(part: xarray.Dataset) -> xarray.Dataset:
    """With a mask for channels that have none and whose values are not all finite."""
    names, masked, _ = sort_variables(part)
    seen = {n + OBSERVED: np.isfinite(part[n]) for n in names if n not in masked}
    return part.assign({name: mask for name, mask in seen.items() if not bool(mask.all())})


@dataclass(frozen=True)
class Fleet:
    """All that a worker needs."""

    model: DecomposedDynamics
    observations: Observations
    settings: AdaptSettings
    path: Path
    environments: int
    chunk: int
    compile: bool
    memory: int

    @property
    def chunks(self) -> list[tuple[int, int]]:
        return [(i, 0) for i in range(-(-self.environments // self.chunk))]

    def rows(self, i: int) -> range:
        return range(i * self.chunk, min((i + 1) * self.chunk, self.environments))


def fit_one(fleet: Fleet, i: int, j: int) -> int:
    """Adapt to chunk ``i`` and write it; how many of its environments have not converged."""
    del j
    rows = fleet.rows(i)
    support = fleet.observations.read(rows)
    fit = fit_chunk(fleet.model, support, fleet.settings, fleet.compile, fleet.memory // 2)
    write_fit(fleet.path, rows, fleet.chunk, fit, support)
    return int((~fit.converged).sum())


def chunk_size(sample: Trajectories, environments: int, memory: int) -> int:
    """Environments of a chunk, from the bytes of one: its observations several times over, in float64.

    Raises:
        DataError: one environment alone does not fit.
    """
    one = 6 * 8 * math.prod(sample.states.shape[1:])
    if one > memory // 2:
        raise DataError(
            f"One environment takes about {one / 2**20:.3g} MiB while it is fitted, and memory={memory / 2**20:.3g} MiB "
            "leaves half for that. Raise memory, or give fewer frames or trajectories."
        )
    return max(1, min(MOST, environments, memory // 2 // one))


def identity(model: DecomposedDynamics, observations: Observations, settings: AdaptSettings) -> dict[str, Any]:
    """What tells a fleet from others: its results go on only where all of this is the same."""
    digest = hashlib.sha256(json.dumps(model.recipe, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(
            torch.as_tensor(tensor).detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return {
        "environments": observations.count,
        "model": digest.hexdigest()[:32],
        "observations": observations.identity(),
        "settings": json.dumps(asdict(settings), sort_keys=True, default=str),
    }

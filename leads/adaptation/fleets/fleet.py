"""Contexts of very many environments in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from leads.adaptation.adapted import Adapted
from leads.adaptation.fleets.flags import DIVERGED, FAILURES, SENTENCES
from leads.adaptation.fleets.job import Fleet, Observations, chunk_size, fit_one, identity
from leads.adaptation.fleets.store import create
from leads.adaptation.settings import AdaptSettings
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, FileError, SettingsError, ShapeError
from leads.integrators.compiled import cannot_compile
from leads.registry import nearest
from leads.trajectories import Trajectories, store
from leads.trajectories.cluster import check_workers, connected, runner
from leads.trajectories.progress import progress_bar
from leads.trajectories.trajectories import require_frames
from leads.version import __version__

if TYPE_CHECKING:
    import xarray

#: Bytes that a process may use beyond what it holds already.
MEMORY = 2**30
#: Environments in one process from which compiling (some ten seconds) pays.
WORTH_COMPILING = 8192


def adapt_many(
    model: DecomposedDynamics,
    dataset: Trajectories | str | Path,
    path: str | Path,
    settings: AdaptSettings | None = None,
    *,
    memory: int = MEMORY,
    chunk: int | None = None,
    cluster: Any = None,
    workers: int | None = None,
    compile: bool | None = None,
    progress: bool | None = None,
    **overrides: Any,
) -> FleetResults:
    """Find the contexts of very many environments never seen, chunk by chunk, into a Zarr store.

    Where a context has few values, all environments of a chunk are fitted together by Levenberg-Marquardt, and those that
    have converged cost nothing more. Adapters that are linear in their code (:mod:`leads.backbones.coded`) never form an
    environment's weights, and the Jacobian comes with the rollout; they go to within rounding in float32 and end in
    float64. All other models and settings go through :func:`leads.adapt`, chunk by chunk, and so do environments whose
    first solve is in doubt (``AdaptSettings.starts``). An environment that cannot be fitted, because nothing of it was
    observed or its rollout is not finite, is marked (``failure``, ``loss`` NaN, not ``converged``) and stops no other.

    A killed call goes on when it is repeated: a chunk counts once its results are on disk. Until the last one is there
    the store's attribute ``complete`` is false. Of a finished one nothing is made again.

    Args:
        model: trained dynamics; its weights are not touched.
        dataset: observations of E environments: trajectories in memory, or a Zarr store or NetCDF file of the layout that
            leads writes (:func:`leads.trajectories.save`, :func:`leads.trajectories.stream`), of which a chunk is read
            at a time; on a cluster, in a folder that all workers share.
        path: of the results, ending in ``.zarr``; on a cluster, in a folder that all workers share.
        settings: see :class:`AdaptSettings`; ``overrides`` replace single ones.
        memory: bytes that a process may use for a chunk; decides how many environments are in one.
        chunk: environments of a chunk, where ``memory`` is not to decide. A store that was begun keeps its chunks.
        cluster: ``None`` for this process, ``"local"`` for processes of this machine, the address of a Dask scheduler,
            or a ``dask.distributed.Client``. A script that asks for local processes needs the usual
            ``if __name__ == "__main__":``.
        workers: processes of a local cluster; one a core by default.
        compile: compile the field with PyTorch's compiler; by default where a compiler is to be had and the fleet large
            enough to repay it. Results agree to rounding.
        progress: show a bar on stderr; by default where that is a terminal.

    Returns:
        The results.

    Raises:
        ShapeError, DataError: observations that do not fit the model, before any work.
        SettingsError, UnknownNameError: settings that do not exist or cannot be.
        FileError: the observations cannot be read, or other results stand at the path.
    """
    for name in overrides:
        if name not in AdaptSettings.__dataclass_fields__:
            raise SettingsError(f"adapt has no setting {name!r}. {nearest(name, AdaptSettings.__dataclass_fields__)}")
    settings = replace(settings or AdaptSettings(), **overrides)
    check_workers(cluster, workers)
    if memory < 1 or (chunk is not None and chunk < 1):
        raise SettingsError(f"memory and chunk must be positive, got {memory} and {chunk}.")
    path = Path(path).absolute()
    if path.suffix != ".zarr":
        raise FileError(f"The results of a fleet are kept as .zarr, got {path.name!r}.")
    observations = Observations(dataset if isinstance(dataset, Trajectories) else Path(dataset).absolute())
    n = observations.count
    if n < 1:
        raise DataError("The observations hold no environment.")
    sample = observations.read(range(1))
    _check(model, sample)
    own = identity(model, observations, settings)
    size = chunk_size(sample, n, memory) if chunk is None else min(chunk, n)
    complete = False
    if path.exists():
        size, complete = _begun(path, own)
    if compile is None:
        compile = n >= WORTH_COMPILING and cannot_compile() is None
    fleet = Fleet(model, observations, settings, path, n, size, compile, memory)
    if not complete:
        if not path.exists():
            context = _layout(model)
            create(path, context, sample, n, size, _attributes(own, size, list(context), sample))
        _fill(fleet, cluster, workers, progress)
    return FleetResults(model, path)


@dataclass(frozen=True)
class FleetResults:
    """The results of :func:`adapt_many`.

    Attributes:
        model: the shared dynamics.
        path: of the Zarr store.
    """

    model: DecomposedDynamics
    path: Path

    def open(self) -> xarray.Dataset:
        """The store as a dataset whose values are read when they are used: ``context_NAME`` for each entry of the
        contexts, ``covariance`` ``(environment, d, d)``, and one number an environment ``loss``, ``converged``,
        ``iterations``, ``noise``, and the flags ``failure`` and ``restarted`` (0: none; ``flag_meanings`` says what the
        others are); true parameters, where the observations carry them, are coordinates."""
        import xarray

        return xarray.open_zarr(self.path, consolidated=False)

    def adapted(self, environments: Sequence[int] | slice) -> Adapted:
        """A forecaster for some of the environments."""
        with self.open() as whole:
            part = whole.isel(
                environment=environments if isinstance(environments, slice) else list(environments)
            ).load()
        tensor = lambda v: torch.from_numpy(np.array(v.values))  # noqa: E731
        like = next(iter([*self.model.parameters(), *self.model.buffers()]))
        entries = {v.attrs["entry"]: tensor(v).to(like) for v in part.data_vars.values() if "entry" in v.attrs}
        contexts = {k: entries[k] for k in part.attrs["entries"]}
        known = [tensor(part[c]) for c in part.attrs["parameters"]]
        covariance = tensor(part["covariance"])
        info = {"solver": "fleet", **{k: part[k].values.tolist() for k in ("loss", "converged", "iterations", "noise")}}
        info["failure"] = [FAILURES[k - 1] if k else None for k in part["failure"].values.tolist()]
        kept = covariance if bool(torch.isfinite(covariance).any()) else None
        return Adapted(self.model, contexts, kept, torch.stack(known, 1) if known else None, info)

    def failures(self) -> dict[int, str]:
        """The environments that have no fit, by number, each with its reason."""
        with self.open() as whole:
            failure = whole["failure"].values
        return {int(e): f"Environment {e} has no fit: {SENTENCES[int(failure[e])]}." for e in failure.nonzero()[0]}

    def summary(self) -> dict[str, float]:
        """How many environments there are, how many converged, how many have no fit, and of these how many diverged; how
        many were solved again, and the median loss."""
        with self.open() as whole:
            loss, converged = whole["loss"].values, whole["converged"].values
            failure, restarted = whole["failure"].values, whole["restarted"].values
        good = np.isfinite(loss)
        return {
            "environments": len(loss),
            "converged": int(converged.sum()),
            "failed": int((failure > 0).sum()),
            "diverged": int((failure == DIVERGED).sum()),
            "restarted": int((restarted > 0).sum()),
            "median_loss": float(np.median(loss[good])) if good.any() else float("nan"),
        }


def _check(model: DecomposedDynamics, sample: Trajectories) -> None:
    shape = model.recipe.get("state_shape")
    if shape is not None and tuple(shape) != sample.state_shape:
        raise ShapeError(
            f"The model forecasts states (C, *X) = {tuple(shape)}, the observations have {sample.state_shape}."
        )
    require_frames(sample, model.history, "observations")


def _layout(model: DecomposedDynamics) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every entry of a context."""
    start = model.adapter.init_context()
    return {k: (tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in start.items()}


def _attributes(own: dict[str, Any], size: int, entries: list[str], sample: Trajectories) -> dict[str, Any]:
    known = [] if sample.parameters is None else [p.name for p in sample.parameter_specs]
    about = {"leads_version": __version__, "entries": entries, "parameters": known}
    return {**about, "complete": False, "stream": {**own, "chunk": size}}


def _begun(path: Path, own: dict[str, Any]) -> tuple[int, bool]:
    """Chunk size of the store at ``path``, and whether it is complete; refused where it is another fleet's."""
    attributes = store.attributes_of(path)
    found = attributes["stream"]
    differs = [name for name in own if found.get(name) != own[name]]
    if differs:
        raise FileError(f"{path} holds results of other {', '.join(differs)}. Choose another path, or move those away.")
    return int(found["chunk"]), bool(attributes["complete"])


def _fill(fleet: Fleet, cluster: Any, workers: int | None, progress: bool | None) -> None:
    with connected(cluster, workers) as client, store.journal(fleet.path) as book:
        todo = [item for item in fleet.chunks if item not in book.done]
        done = len(fleet.chunks) - len(todo)
        with progress_bar(fleet.path.name, len(fleet.chunks), "chunks", done, progress) as advance:
            for item, missed in runner(client)(fit_one, fleet, todo):
                book.mark(*item, missed)
                advance()
        store.finish(fleet.path)

"""Sets beyond memory: simulated chunk by chunk into a Zarr store, here or on a Dask cluster."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from leads.environments import EnvironmentFamily, System
from leads.errors import SettingsError, UnknownNameError
from leads.registry import nearest
from leads.trajectories import store
from leads.trajectories.chunks import make_chunk, prepare
from leads.trajectories.cluster import Runner, check_workers, connected, runner
from leads.trajectories.generate import FIDELITIES, SEEDS, _real, plan, provenance
from leads.trajectories.job import Job, check, check_count, check_disk, chunk_shape, compare, identity, settled
from leads.trajectories.progress import progress_bar
from leads.trajectories.seeds import check_seed
from leads.version import __version__

ON_BLOWUP = ("raise", "mark")
#: Bytes of states in a chunk by default: small beside any memory, large beside the cost of a file.
CHUNK = 2**22
#: Where the seeds of fresh environments begin: no initial state is drawn from the same stream.
_ENVIRONMENTS = 3_000_000_000
_MAKE = "leads.make('lotka_volterra') makes a family, and its .system is a System."


def stream(
    source: EnvironmentFamily | System,
    parameters: Tensor | ArrayLike,
    n_trajectories: int,
    times: Tensor | ArrayLike,
    path: str | Path,
    *,
    seed: int = 0,
    set: str = "train",
    fidelity: Literal["exact", "published"] = "exact",
    dtype: torch.dtype = torch.float32,
    chunk: tuple[int, int] | int = CHUNK,
    cluster: Any = None,
    workers: int | None = None,
    progress: bool | None = None,
    on_blowup: Literal["raise", "mark"] = "raise",
    attributes: dict[str, Any] | None = None,
) -> Path:
    """Simulate a set of any size into a Zarr store of the layout that :func:`leads.trajectories.save` writes.

    At any time one chunk is in memory (one a worker). The numbers are those of :func:`leads.generate` bit for bit,
    whatever the chunks, the workers and the order in which they end, as far as a system's solution of one trajectory
    does not depend on what is solved beside it. Reference solutions (``fidelity="exact"``) promise that; the steps of
    published ones follow the last bits of their error estimates, so that there another chunk may change the last bits.

    A killed call goes on when it is repeated: a chunk counts once its data are on disk. Until the last one is there,
    the store's attribute ``complete`` is false and :func:`leads.trajectories.load` refuses it. A store that was begun
    keeps the chunks it was begun with. Of a finished one nothing is made again.

    Args:
        source: a family, which says whether environments share their initial states, or a system, whose do.
        parameters: shape ``(E, P)``; arrays and lists are converted, here and for ``times``.
        n_trajectories: N, in each environment.
        times: shape ``(T,)``, strictly increasing.
        path: of the store, ending in ``.zarr``; on a cluster, in a folder that all workers share.
        seed: of the initial states, from 0 to 999.
        set: ``"train"``, ``"valid"``, ``"test"``, ``"adapt"`` or ``"adapt_test"``: the range of seeds of initial
            states, as for :func:`leads.generate`.
        fidelity: see :func:`leads.generate`.
        dtype: float32 or float64, of the states kept; they are made in float64 and cast once.
        chunk: environments and trajectories in a chunk, or bytes of its states. Solving takes several times as much
            memory, in float64.
        cluster: ``None`` for this process, ``"local"`` for processes of this machine, the address of a Dask scheduler,
            or a ``dask.distributed.Client``. A script that asks for local processes needs the usual
            ``if __name__ == "__main__":``.
        workers: processes of a local cluster; one a core by default.
        progress: show a bar on stderr; by default where that is a terminal.
        on_blowup: ``"raise"``, or ``"mark"``: then the frames that a trajectory does not reach are NaN and not observed
            (``NAME_observed``, hence the mask of the loaded set), and ``blown_up_at`` ``(environment, trajectory)``
            holds the time, NaN where it stays finite. A set begun with "raise" can go on with "mark".
        attributes: more provenance to keep in the file.

    Returns:
        ``path``.

    Raises:
        ShapeError, DataError: parameters or times that do not fit, before any work.
        SettingsError, UnknownNameError: settings out of range, before any work.
        FileError: another set or anything else stands at the path, or the disk is too small for the set.
        DivergenceError: a trajectory blows up and ``on_blowup="raise"``; environment, trajectory and time are named,
            complete chunks are kept.
    """
    begun = _begin(
        source, parameters, n_trajectories, times, path,
        seed=seed, set=set, fidelity=fidelity, dtype=dtype, chunk=chunk, on_blowup=on_blowup, attributes=attributes,
    )  # fmt: skip
    _fill([begun], cluster, workers, progress)
    return Path(path)


def stream_sets(
    family: EnvironmentFamily,
    folder: str | Path,
    seed: int = 0,
    attributes: dict[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Path]:
    """All data sets of a family, each streamed to ``folder/NAME.zarr``: what :func:`leads.generate` makes in memory.

    Args:
        family: what :func:`leads.make` or :func:`fresh_environments` returns.
        folder: where the stores go.
        seed: of the initial states.
        attributes: more provenance to keep in the files.
        settings: further arguments of :func:`stream`.

    Returns:
        The paths of ``train``, ``valid``, ``test``, ``adapt`` and ``adapt_test``.
    """
    if not isinstance(family, EnvironmentFamily):
        raise SettingsError(f"stream_sets needs a family, got {family!r}. {_MAKE}")
    cluster, workers, progress = (settings.pop(name, None) for name in ("cluster", "workers", "progress"))
    paths = {name: Path(folder) / f"{name}.zarr" for name in SEEDS}
    begun = [
        _begin(family, parameters, n, times, paths[name], seed=seed, set=name, attributes=attributes, **settings)
        for name, (n, parameters, times) in plan(family).items()
    ]
    _fill(begun, cluster, workers, progress)
    return paths


def fresh_environments(
    family: EnvironmentFamily, n: int, distribution: Literal["inside", "outside", "shift"] = "inside", seed: int = 0
) -> EnvironmentFamily:
    """The family with ``n`` seen environments drawn by :meth:`EnvironmentFamily.sample` in place of its own.

    Its unseen environments stay, so that methods are tested on the same ones. ``seed`` names the draw: with a larger
    ``n`` the first environments stay what they were.
    """
    if not isinstance(family, EnvironmentFamily):
        raise SettingsError(f"fresh_environments needs a family, got {family!r}. {_MAKE}")
    generator = np.random.RandomState(_ENVIRONMENTS + check_seed(seed))
    return replace(family, seen=family.sample(n, distribution, generator))


@dataclass(frozen=True)
class _Begun:
    """A set found to be sound: the job, the attributes of its store, and whether that is there and complete."""

    job: Job
    attributes: dict[str, Any]
    stream: dict[str, Any]
    there: bool
    complete: bool


def _begin(
    source: EnvironmentFamily | System,
    parameters: Tensor | ArrayLike,
    n_trajectories: int,
    times: Tensor | ArrayLike,
    path: str | Path,
    *,
    seed: int,
    set: str,
    fidelity: str = "exact",
    dtype: torch.dtype = torch.float32,
    chunk: tuple[int, int] | int = CHUNK,
    on_blowup: str = "raise",
    attributes: dict[str, Any] | None = None,
) -> _Begun:
    """Check all that can be checked before work starts; nothing is written."""
    if not isinstance(source, EnvironmentFamily | System):
        raise SettingsError(f"stream needs a family or a System, got {source!r}. {_MAKE}")
    family = source if isinstance(source, EnvironmentFamily) else None
    system = source.system if isinstance(source, EnvironmentFamily) else source
    parameters, times, seed = _tensor("parameters", parameters), _tensor("times", times), check_seed(seed)
    system.check_parameters(parameters)
    n_trajectories = check_count(n_trajectories)
    for given, known, what in ((fidelity, FIDELITIES, "fidelity"), (set, SEEDS, "set"), (on_blowup, ON_BLOWUP, "way")):
        if given not in known:
            raise UnknownNameError(f"No {what} is named {given!r}. {nearest(str(given), known)}")
    job = Job(
        settled(system, len(parameters) * n_trajectories),
        parameters.detach().cpu().double(),
        times.detach().cpu().double(),
        n_trajectories,
        seed,
        set,
        family.shared_initial_states if family else True,
        fidelity,
        dtype,
        on_blowup == "mark",
        Path(path).absolute(),
        (1, 1),
    )
    check(job)
    job = replace(job, chunk=chunk_shape(chunk, job))
    own = identity(job, system)
    if job.path.exists():
        found = store.attributes_of(job.path)
        compare(job, own, found["stream"])
        return _Begun(replace(job, chunk=tuple(found["stream"]["chunk"])), {}, {}, True, found["complete"])
    named = {
        "system": type(system).__name__,
        "set": set,
        "seed": seed,
        "fidelity": fidelity,
        "leads_version": __version__,
    }
    origin = provenance(family, set, seed, fidelity) if family else named
    content = hashlib.sha256(repr(sorted(own.items())).encode()).hexdigest()[:32]
    kept = {**own, "chunk": list(job.chunk), "on_blowup": on_blowup}
    return _Begun(job, {**origin, **(attributes or {}), "content": content}, kept, False, False)


def _tensor(name: str, values: Any) -> Tensor:
    # Torch does not take arrays of negative strides.
    own: Any = values.copy() if isinstance(values, np.ndarray) else values
    return _real(name, own)


def _fill(sets: list[_Begun], cluster: Any, workers: int | None, progress: bool | None) -> None:
    """Make what is missing in the stores of several sets."""
    check_workers(cluster, workers)
    sets = [begun for begun in sets if not begun.complete]
    if not sets:
        return
    check_disk(sets[0].job.path, sum(b.job.bytes(b.job.chunks) for b in sets if not b.there))
    with connected(cluster, workers) as client:
        for begun in sets:
            if not begun.there:
                store.create(begun.job, begun.attributes, begun.stream)
            _fill_one(begun.job, runner(client), progress)


def _fill_one(job: Job, run: Runner[Job], progress: bool | None) -> None:
    with store.journal(job.path) as book:
        if job.mark:
            store.let_mark(job)
        todo = [item for item in job.chunks if item not in book.done]
        check_disk(job.path, job.bytes(todo))
        if job.shared and type(job.system).spin_up is not System.spin_up:
            for _ in run(prepare, job, [(0, j) for j in sorted({j for _, j in todo})]):
                pass
        done = len(job.chunks) - len(todo)
        with progress_bar(job.path.name, len(job.chunks), "chunks", done, progress) as advance:
            for item, blown in run(make_chunk, job, todo):
                book.mark(*item, blown)
                advance()
        store.finish(job.path)

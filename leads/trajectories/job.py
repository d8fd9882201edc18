"""A set that is to be streamed: all that determines it, and what can be wrong with it before work starts."""

from __future__ import annotations

import copy
import hashlib
import shutil
import warnings
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leads.environments import System
from leads.environments.batches import repays
from leads.errors import FileError, SettingsError, ShapeError
from leads.integrators import check_times
from leads.trajectories.cache import fingerprint
from leads.trajectories.generate import SEEDS, STRIDE, draw_states
from leads.trajectories.seeds import check_seed

#: Where an unfinished store keeps spun-up initial states.
SPUN = ".spun"


@dataclass(frozen=True)
class Job:
    """All that determines a set, and where it goes.

    Attributes:
        system: the equations.
        parameters: ``(E, P)``, float64.
        times: ``(T,)``, float64.
        n: trajectories an environment.
        seed, set: name the initial states.
        shared: whether all environments start from the same ones.
        fidelity: ``"exact"`` or ``"published"``.
        dtype: of the states that are kept.
        mark: whether a blow-up is marked rather than raised.
        path: the Zarr store.
        chunk: environments and trajectories in a chunk.
    """

    system: System
    parameters: Tensor
    times: Tensor
    n: int
    seed: int
    set: str
    shared: bool
    fidelity: str
    dtype: torch.dtype
    mark: bool
    path: Path
    chunk: tuple[int, int]

    def seeds(self, environments: range, trajectories: range) -> list[int]:
        """Seeds of a chunk's initial states, environment by environment; of one environment where they are shared."""
        rule, first = SEEDS[self.set], self.seed * STRIDE
        rows = [0] if self.shared else list(environments)
        return [rule(first + e * self.n + k) for e in rows for k in trajectories]

    def initial_states(self, environments: range, trajectories: range) -> Tensor:
        """``(e, n, C, *X)``, those of :func:`leads.trajectories.generate.initial_states`."""
        # What all environments share is spun up once, not once a chunk.
        cache = self.path / SPUN if self.shared else False
        states = draw_states(self.system, self.seeds(environments, trajectories), cache)
        if self.shared:
            return states.expand(len(environments), *states.shape).contiguous()
        return states.unflatten(0, (len(environments), len(trajectories)))

    def simulate(self, x0: Tensor, p: Tensor, times: Tensor) -> Tensor:
        solve = self.system.simulate if self.fidelity == "exact" else self.system.simulate_published
        return solve(x0, p, times)

    def block(self, i: int, j: int) -> tuple[range, range]:
        """Environments and trajectories of chunk ``(i, j)``."""
        e, n = self.chunk
        return (
            range(i * e, min((i + 1) * e, len(self.parameters))),
            range(j * n, min((j + 1) * n, self.n)),
        )

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """Numbers ``(i, j)`` of all chunks, those of the same trajectories one after the other."""
        e, n = ceil(len(self.parameters) / self.chunk[0]), ceil(self.n / self.chunk[1])
        return [(i, j) for j in range(n) for i in range(e)]

    def bytes(self, chunks: list[tuple[int, int]]) -> int:
        """Bytes of these chunks in the store, before compression."""
        blocks = [self.block(i, j) for i, j in chunks]
        return sum(len(e) * len(n) for e, n in blocks) * self.bytes_each

    @property
    def bytes_each(self) -> int:
        """Bytes of one trajectory."""
        return len(self.times) * prod(self.system.state_shape) * (self.dtype.itemsize + (1 if self.mark else 0))


def settled(system: System, trajectories: int) -> System:
    """The system with its choice of compiling made for the whole set, as it would be made in memory.

    Compiled and plain steps differ in their last bits, so that the choice must not hang on the size of a chunk.
    """
    if system.compile is not None:
        return system
    system = copy.copy(system)
    system.compile = repays(trajectories * prod(system.state_shape))
    return system


def check_count(n: Any) -> int:
    """The number of trajectories an environment, as a plain integer.

    Raises:
        SettingsError: it counts nothing.
    """
    if not _whole(n) or n < 0:
        raise SettingsError(f"n_trajectories must be a whole number, no fewer than 0, got {n!r}.")
    return int(n)


def _whole(n: Any) -> bool:
    return isinstance(n, int | np.integer) and not isinstance(n, bool)


def chunk_shape(chunk: tuple[int, int] | int, job: Job) -> tuple[int, int]:
    environments, n = max(len(job.parameters), 1), max(job.n, 1)
    if _whole(chunk):
        chunk = int(chunk)  # type: ignore[arg-type]
        if chunk < 1:
            raise SettingsError(f"A chunk needs at least one byte, got chunk={chunk}.")
        fit = max(chunk // job.bytes_each, 1)
        return (min(fit // n, environments), n) if fit >= n else (1, fit)
    if not isinstance(chunk, tuple | list) or len(chunk) != 2 or not all(_whole(c) and c >= 1 for c in chunk):
        raise SettingsError(f"A chunk is (environments, trajectories), each at least 1, or bytes; got {chunk!r}.")
    return min(int(chunk[0]), environments), min(int(chunk[1]), n)


def check(job: Job) -> None:
    """Everything that can be wrong before work starts."""
    if job.path.suffix != ".zarr":
        raise FileError(f"Sets are streamed to Zarr: the path must end in .zarr, got {job.path.name!r}.")
    if job.dtype not in (torch.float32, torch.float64):
        raise SettingsError(f"States are kept as float32 or float64, got {job.dtype}.")
    if job.times.ndim != 1 or not len(job.times):
        raise ShapeError(f"Times need shape (T,), T >= 1; got {tuple(job.times.shape)}.")
    check_times(job.times)
    job.system.check_parameters(job.parameters)
    check_seed(job.seed)
    draws = job.n if job.shared else job.n * len(job.parameters)
    rule, last = SEEDS[job.set], job.seed * STRIDE + max(draws, 1) - 1
    if not 0 <= rule(last) < 2**32:
        raise SettingsError(f"{draws} initial states from seed={job.seed} on go beyond NumPy's seeds; ask for fewer.")
    if draws > STRIDE:
        warnings.warn(
            f"{draws} initial states reach into the range of the seeds after seed={job.seed}: let other sets be at least "
            f"{ceil(draws / STRIDE)} seeds away.",
            stacklevel=4,
        )


def identity(job: Job, system: System) -> dict[str, Any]:
    """What tells one set from another; two stores that agree in it hold the same numbers."""
    digest = lambda x: hashlib.sha256(repr(tuple(x.shape)).encode() + x.numpy().tobytes()).hexdigest()[:16]  # noqa: E731
    return {
        "system": type(system).__name__,
        "equations": fingerprint(system),
        "compiled": bool(getattr(job.system, "compile", False)),
        "environments": len(job.parameters),
        "trajectories": job.n,
        "parameters": digest(job.parameters),
        "times": digest(job.times),
        "set": job.set,
        "seed": job.seed,
        "shared_initial_states": job.shared,
        "fidelity": job.fidelity,
        "dtype": str(job.dtype).removeprefix("torch."),
    }


def compare(job: Job, own: dict[str, Any], found: dict[str, Any]) -> None:
    hashed = ("equations", "parameters", "times")
    unlike = [k for k in own if found.get(k) != own[k]]
    differs = [f"{k} differ" if k in hashed else f"{k}: {found.get(k)} there, {own[k]} here" for k in unlike]
    if not job.mark and found["on_blowup"] == "mark":
        differs.append("on_blowup: mark there, raise here")
    if differs:
        raise FileError(
            f"{job.path} holds another set ({'; '.join(differs)}). Choose another path, or move that one away."
        )


def check_disk(path: Path, needed: int) -> None:
    """Raise :class:`FileError` unless ``needed`` bytes are free where ``path`` is, or will be."""
    folder = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FileError(
            f"{path} needs up to {needed / 2**30:.3g} GiB more and {free / 2**30:.3g} GiB are free on its disk. Make "
            "room, choose another path, or make fewer environments, trajectories or frames."
        )

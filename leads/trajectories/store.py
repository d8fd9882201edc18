"""A Zarr store that is filled chunk by chunk: begun whole, gone on with after a kill, finished in one step."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leads.errors import FileError
from leads.trajectories.cache import write_whole
from leads.trajectories.dataset import BLOWN, LEAD, OBSERVED
from leads.trajectories.files import to_xarray
from leads.trajectories.job import SPUN, Job
from leads.trajectories.trajectories import Trajectories

#: Name of the journal of complete chunks, within an unfinished store.
JOURNAL = ".journal"


def create(job: Job, attributes: dict[str, Any], stream: dict[str, Any]) -> None:
    """Begin a store: names, units, coordinates, parameters and all arrays, without their chunks.

    Args:
        job: the set.
        attributes: its provenance.
        stream: what tells it from other sets.
    """
    import zarr

    system, path = job.system, job.path
    one = Trajectories(
        torch.zeros((1, 1, len(job.times), *system.state_shape), dtype=job.dtype),
        job.times,
        job.parameters[:1] if len(job.parameters) else job.parameters.new_zeros(1, len(system.parameters)),
        channels=system.channels,
        parameter_specs=system.parameters,
        grid=system.grid,
        attributes=attributes,
    )
    template = to_xarray(one)
    labels = template.drop_vars([*template.data_vars, *(q.name for q in system.parameters)])
    for i, spec in enumerate(system.parameters):
        values = ("environment", job.parameters[:, i].numpy(), template[spec.name].attrs)
        labels = labels.assign_coords({spec.name: values})
    labels.attrs |= {"complete": False, "stream": stream}
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        labels.to_zarr(part, mode="w", consolidated=False)
        group = zarr.open_group(part, mode="r+")
        for name, variable in template.data_vars.items():
            _array(group, job, str(name), variable.dims, variable.shape[2:], job.dtype, np.nan, variable.attrs)
        if job.mark:
            _add_marks(group, job)
        os.replace(part, path)
    except (OSError, ValueError) as error:
        raise FileError(f"Could not begin {path}: {error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def attributes_of(path: Path) -> dict[str, Any]:
    """Attributes of the store at ``path``.

    Raises:
        FileError: what is there is no store that was begun by :func:`create`.
    """
    try:
        found = json.loads((path / "zarr.json").read_text())["attributes"]
        if "stream" in found:
            return found
    except (OSError, ValueError, KeyError):
        pass
    raise FileError(f"{path} exists and was not written chunk by chunk; move it away or choose another path.")


def set_attributes(path: Path, **changes: Any) -> None:
    """Change attributes of a store in one step."""
    head = json.loads((path / "zarr.json").read_text())
    head["attributes"] |= changes
    write_whole(path / "zarr.json", json.dumps(head, indent=1).encode())


def let_mark(job: Job) -> None:
    """Let a store that was begun without marks of blow-ups have them; chunks without any need none."""
    import zarr

    begun = attributes_of(job.path)["stream"]
    if begun["on_blowup"] != "mark":
        _add_marks(zarr.open_group(job.path, mode="r+"), job)
        set_attributes(job.path, stream={**begun, "on_blowup": "mark"})


def finish(path: Path) -> None:
    """Make a filled store a plain one."""
    set_attributes(path, complete=True)
    (path / JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(path / SPUN, ignore_errors=True)


class Journal:
    """The complete chunks of an unfinished store, one line each; only the process that holds it may write the store.

    A line is added after the data of its chunk are on disk, so that no kill can leave a chunk that counts and is not
    there. A torn last line does not count.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / JOURNAL
        self.done: dict[tuple[int, int], int] = {}
        self._file = open(self.path, "a+b")  # noqa: SIM115
        try:
            _lock(self._file.fileno())
        except OSError as error:
            self._file.close()
            raise FileError(f"Another process is writing {path}. Wait for it, or choose another path.") from error
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        for line in whole.splitlines():
            i, j, blown = map(int, line.split())
            self.done[i, j] = blown

    def mark(self, i: int, j: int, blown: int) -> None:
        """Chunk ``(i, j)`` is on disk; ``blown`` of its trajectories are marked."""
        self._file.write(f"{i} {j} {blown}\n".encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done[i, j] = blown

    def close(self) -> None:
        self._file.close()


@contextmanager
def journal(path: Path) -> Iterator[Journal]:
    """The journal of a store, held while the block runs."""
    book = Journal(path)
    try:
        yield book
    finally:
        book.close()


def write_chunk(job: Job, environments: range, trajectories: range, states: Tensor, blown: Tensor) -> None:
    """Write one chunk, and return when it is on disk.

    Raises:
        FileError: it could not be written; the store goes on from the complete chunks.
    """
    import zarr

    names = [c.name for c in job.system.channels]
    arrays = {name: states[:, :, :, i].numpy() for i, name in enumerate(names)}
    if job.mark:
        seen = torch.isfinite(states).numpy().astype("int8")
        arrays |= {name + OBSERVED: seen[:, :, :, i] for i, name in enumerate(names)}
        arrays[BLOWN] = blown.numpy()
    e, n = (slice(r.start, r.stop) for r in (environments, trajectories))
    i, j = environments.start // job.chunk[0], trajectories.start // job.chunk[1]
    try:
        group: Any = zarr.open_group(job.path, mode="r+")
        for name, values in arrays.items():
            group[name][e, n] = values
            _sync(job.path / name / "c" / str(i) / str(j))
    except OSError as error:
        raise FileError(
            f"Could not write {job.path}: {error}. Complete chunks are kept: make room and run the same again to go on."
        ) from error


def _array(
    group: Any,
    job: Job,
    name: str,
    dims: tuple[Any, ...],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    fill: float,
    attributes: dict[str, Any],
) -> None:
    """One array, a file of it a chunk; its attributes are those that xarray writes."""
    labels = " ".join(sorted(q.name for q in job.system.parameters))
    group.create_array(
        name,
        shape=(len(job.parameters), job.n, *shape),
        chunks=(*job.chunk, *shape),
        dtype=str(dtype).removeprefix("torch."),
        fill_value=fill,
        dimension_names=dims,
        attributes={**attributes, **({"coordinates": labels} if labels else {})},
        overwrite=True,
    )


def _add_marks(group: Any, job: Job) -> None:
    axes = job.system.grid.axes if job.system.grid else ()
    shape = (len(job.times), *job.system.state_shape[1:])
    for channel in job.system.channels:
        # Where nothing is hidden no file is written: one stands for all.
        _array(group, job, channel.name + OBSERVED, (*LEAD, *axes), shape, torch.int8, 1, {})
    name = "time from which on the trajectory is not finite; NaN where it is throughout"
    _array(group, job, BLOWN, LEAD[:2], (), torch.float64, np.nan, {"long_name": name})


def _sync(path: Path) -> None:
    """Wait until the file or the files below ``path``, and the folders from the array down, are on disk."""
    files = [path] if path.is_file() else [*path.rglob("*"), path] if path.exists() else []
    for file in [*files, *path.parents[:3]]:
        if file.exists():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Hold a file for this process alone, until it is closed or the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows, where two writers are not kept apart
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

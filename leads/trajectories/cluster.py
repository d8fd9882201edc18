"""Running the same tasks here, on local processes, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from numbers import Integral
from typing import Any, TypeVar

from leads.errors import FileError, SettingsError

T = TypeVar("T")
#: ``task(job, i, j)``.
Task = Callable[[T, int, int], int]
Runner = Callable[[Task[T], T, Iterable[tuple[int, int]]], Iterator[tuple[tuple[int, int], int]]]
#: Tasks that a worker has waiting, so that a million chunks do not lie in the scheduler at once.
AHEAD = 3


def check_workers(cluster: Any, workers: int | None) -> None:
    """Raise :class:`SettingsError` where ``workers`` counts nothing."""
    if workers is None:
        return
    whole = isinstance(workers, Integral) and not isinstance(workers, bool)
    # A Client has its own idea of equality.
    if not whole or workers < 1 or not isinstance(cluster, str) or cluster != "local":
        raise SettingsError(
            f"workers={workers!r} must count the processes of cluster='local', at least one; got cluster={cluster!r}."
        )


@contextmanager
def connected(cluster: Any = None, workers: int | None = None) -> Iterator[Any]:
    """The ``dask.distributed.Client`` that ``cluster`` names, ``None`` for this process; closed if it was opened here.

    Args:
        cluster: ``None`` for this process, ``"local"`` for processes of this machine, the address of a Dask scheduler,
            or a ``dask.distributed.Client``.
        workers: processes of a local cluster; one a core by default.

    Raises:
        SettingsError: ``distributed`` is not installed, or settings that do not go together.
        FileError: no scheduler answers at the address.
    """
    check_workers(cluster, workers)
    if cluster is None:
        yield None
        return
    try:
        import distributed
    except ImportError as error:
        raise SettingsError(
            "A cluster needs Dask's distributed: pip install 'leads-dynamics[cluster]', or leave cluster out."
        ) from error
    if isinstance(cluster, distributed.Client):
        yield cluster
    elif cluster == "local":
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with (
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, env=threads
            ) as local,
            distributed.Client(local) as client,
        ):
            yield client
    elif isinstance(cluster, str):
        try:
            client = distributed.Client(cluster, timeout="10s")
        except (OSError, ValueError) as error:
            raise FileError(f"No Dask scheduler answers at {cluster!r}: {error}.") from error
        with client:
            yield client
    else:
        raise SettingsError(f"A cluster is 'local', an address or a dask.distributed.Client, got {cluster!r}.")


def runner(client: Any) -> Runner[Any]:
    """A function that runs ``task(job, i, j)`` for many ``(i, j)``, on ``client`` or here, and yields each as it ends."""
    return _here if client is None else _on(client)


def _here(task: Task[T], job: T, items: Iterable[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], int]]:
    for item in items:
        yield item, task(job, *item)


def _on(client: Any) -> Runner[Any]:
    def run(task: Task[T], job: T, items: Iterable[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], int]]:
        from distributed import KilledWorker, as_completed

        rest = iter(items)
        # The job travels once to every worker; what its system compiles is then kept there as well.
        sent = client.scatter(job, broadcast=True)
        submit = lambda item: client.submit(_alone, task, sent, *item, pure=False)  # noqa: E731
        threads = max(sum(client.nthreads().values()), 1)
        waiting = {submit(item): item for item in islice(rest, AHEAD * threads)}
        done = as_completed(list(waiting))
        try:
            for future in done:
                yield waiting[future], future.result()
                del waiting[future]
                for item in islice(rest, 1):
                    new = submit(item)
                    waiting[new] = item
                    done.add(new)
        except KilledWorker as error:
            raise SettingsError(
                f"Workers died again and again over one chunk, most likely for want of memory: {error}. Complete chunks "
                "are kept; a set begun anew with a smaller chunk needs less."
            ) from error
        finally:
            client.cancel(list(waiting))

    return run


def _alone(task: Task[T], job: T, i: int, j: int) -> int:
    """A task on a worker's one thread."""
    import torch

    torch.set_num_threads(1)
    return task(job, i, j)

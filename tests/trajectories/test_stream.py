"""Sets made chunk by chunk: the same bits as in memory, killed and gone on with, blow-ups, full disks, clusters."""

from __future__ import annotations

import importlib.util
import pickle
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import leads
from leads.environments import Budget, Channel, EnvironmentFamily, Parameter, System
from leads.environments.batches import WORTH_COMPILING
from leads.errors import DataError, DivergenceError, FileError, LeadsError, SettingsError, ShapeError, UnknownNameError
from leads.integrators.compiled import cannot_compile
from leads.trajectories import fresh_environments, generate, load, read, save, stream, stream_sets
from leads.trajectories import job as job_module
from leads.trajectories import store as store_module
from leads.trajectories.generate import initial_states
from leads.trajectories.job import settled
from leads.trajectories.store import JOURNAL, SPUN, Journal

BUDGET = Budget(train=3, test=2, valid=1, adapt=1, adapt_test=2)


def small(family: EnvironmentFamily, **changes: object) -> EnvironmentFamily:
    return replace(family, budget=BUDGET, **changes)  # type: ignore[arg-type]


class Spun(type(leads.make("lotka_volterra").system)):  # type: ignore[misc]
    """Lotka-Volterra whose initial states are spun up by a shift."""

    def spin_up(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.25


class Square(System):
    """x' = p x^2: x(t) = x0 / (1 - p x0 t), which blows up at t = 1 / (p x0)."""

    channels = (Channel("x"),)
    parameters = (Parameter("p", low=0.0, high=10.0),)

    def rhs(self, t: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return p * x**2

    def sample_x0(self, n: int, generator: np.random.RandomState) -> torch.Tensor:
        return torch.from_numpy(generator.uniform(1.0, 2.0, size=(n, 1)))


class Growing(Square):
    """x' = p x: leaves the numbers of float32 at x = 3.4e38, silently where the solver does not look."""

    def rhs(self, t: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return p * x

    def sample_x0(self, n: int, generator: np.random.RandomState) -> torch.Tensor:
        return torch.ones(n, 1, dtype=torch.float64)


SQUARE = torch.tensor([[0.0], [0.1], [1.0]], dtype=torch.float64)
TIMES = torch.linspace(0, 2, 5, dtype=torch.float64)
#: States of training trajectories 0 and 1, and the times of blow-ups.
X0 = torch.tensor([np.random.RandomState(k).uniform(1, 2) for k in range(2)], dtype=torch.float64)
ENDS = 1 / (SQUARE * X0)


@pytest.mark.parametrize("chunk", [(1, 2), (4, 2), (100, 100), 400])
def test_bits_do_not_depend_on_the_chunks(
    lotka: EnvironmentFamily, tmp_path: Path, chunk: tuple[int, int] | int
) -> None:
    family = small(lotka)
    inside = generate(family, seed=2, cache=False)
    for name in ("train", "adapt_test"):
        want = getattr(inside, name)
        path = tmp_path / f"{name}.zarr"
        stream(family, want.parameters, want.n_trajectories, want.times, path, seed=2, set=name, chunk=chunk)
        got = load(path)
        assert torch.equal(got.states, want.states)
        assert torch.equal(got.parameters, want.parameters)
        assert got.channels == want.channels
        assert got.parameter_specs == want.parameter_specs
        assert {k: v for k, v in got.attributes.items() if k != "content"} == {
            k: v for k, v in want.attributes.items() if k != "content"
        }


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("spun", [True, False])
def test_initial_states_are_those_of_generate(
    lotka: EnvironmentFamily, tmp_path: Path, shared: bool, spun: bool
) -> None:
    family = small(lotka, shared_initial_states=shared, system=Spun() if spun else lotka.system)
    want = generate(family, cache=False).test
    path = stream(family, family.seen, 2, family.times, tmp_path / "a.zarr", set="test", chunk=(2, 1))
    assert torch.equal(load(path).states, want.states)
    assert torch.equal(want.initial[0], want.initial[1]) == shared
    assert not (path / SPUN).exists()


def test_fields_too(diffusion: EnvironmentFamily, tmp_path: Path) -> None:
    want = generate(diffusion, cache=False)
    for name, path in stream_sets(diffusion, tmp_path, chunk=(1, 1)).items():
        got = load(path)
        assert torch.equal(got.states, getattr(want, name).states)
        assert got.grid == diffusion.system.grid


def test_fields_with_trajectories_last_too(tmp_path: Path) -> None:
    family = leads.make("gray_scott", size=12)
    times = torch.tensor([0.0, 2.0, 5.0], dtype=torch.float64)
    x0 = initial_states(family, lambda k: k, 3, 4)
    want = family.system.simulate(x0, family.seen, times).float()
    for chunk in ((1, 1), (3, 2)):
        path = stream(family, family.seen, 3, times, tmp_path / f"{chunk[0]}.zarr", chunk=chunk)
        assert torch.equal(load(path).states, want)


def test_compiling_is_chosen_for_the_whole_set() -> None:
    system = leads.make("gray_scott", size=32).system
    many = WORTH_COMPILING // (2 * 32 * 32)
    assert settled(system, many - 1).compile is False
    assert settled(system, many).compile is (cannot_compile() is None)
    assert system.compile is None


def test_the_layout_is_that_of_save(lotka: EnvironmentFamily, tmp_path: Path) -> None:
    family = small(lotka)
    save(generate(family, cache=False).train, tmp_path / "saved.zarr")
    stream(family, family.seen, 3, family.times, tmp_path / "streamed.zarr", chunk=(4, 2))
    saved, streamed = (
        xarray.open_zarr(tmp_path / f"{name}.zarr", consolidated=False) for name in ("saved", "streamed")
    )
    assert streamed.attrs["complete"] is True
    assert streamed["prey"].encoding["chunks"] == (4, 2, 20)
    assert not list((tmp_path / "streamed.zarr").glob(".*"))
    saved.attrs = streamed.attrs = {}
    assert saved.identical(streamed)


KILLED = """
import os, signal, sys, leads
from leads.trajectories import store, stream
count, mark = 0, store.Journal.mark
def marked(self, *chunk):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    mark(self, *chunk)
store.Journal.mark = marked
family = leads.make("lotka_volterra")
stream(family, family.seen, 3, family.times, sys.argv[1], chunk=(2, 3))
"""


def test_a_killed_run_goes_on(lotka: EnvironmentFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (path / JOURNAL).read_text() == "0 0 0\n1 0 0\n"
    with pytest.raises(FileError, match="not complete"):
        load(path)
    stamp = lambda: [(path / "prey/c" / str(i) / "0/0").stat().st_mtime_ns for i in range(3)]
    before = stamp()
    stream(lotka, lotka.seen, 3, lotka.times, path, chunk=(2, 3))
    after = stamp()
    assert before[:2] == after[:2]
    assert before[2] < after[2]  # its data were there, but it did not count yet
    assert torch.equal(load(path).states, generate(small(lotka), cache=False).train.states)
    assert torch.equal(read(path).states, load(path).states)


@pytest.mark.parametrize("torn", [b"", b"0 0 0\n1 0", b"0 0 0\n1 0 0\n2"])
def test_a_torn_journal(lotka: EnvironmentFamily, tmp_path: Path, torn: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path, call = tmp_path / "a.zarr", (lotka, lotka.seen, 1, lotka.times)
    monkeypatch.setattr(store_module.Journal, "mark", _stop)
    with pytest.raises(KeyboardInterrupt):
        stream(*call, path, chunk=(3, 1))
    monkeypatch.undo()
    (path / JOURNAL).write_bytes(torn)
    book = Journal(path)
    assert len(book.done) == torn.count(b"\n")
    with pytest.raises(FileError, match="Another process"):
        stream(*call, path, chunk=(3, 1))
    book.close()
    (path / JOURNAL).write_bytes(b"")
    stream(*call, path)  # keeps the chunks it was begun with
    assert xarray.open_zarr(path, consolidated=False)["prey"].encoding["chunks"] == (3, 1, 20)
    assert torch.equal(load(path).states, generate(small(lotka), cache=False).train.states[:, :1])


def _stop(*args: object) -> None:
    raise KeyboardInterrupt


def test_other_sets_are_refused(lotka: EnvironmentFamily, tmp_path: Path) -> None:
    path, call = tmp_path / "a.zarr", (lotka, lotka.seen, 1, lotka.times[:3])
    stream(*call, path)
    stamp = (path / "prey/c/0/0/0").stat().st_mtime_ns
    assert stream(*call, path) == path
    assert (path / "prey/c/0/0/0").stat().st_mtime_ns == stamp
    with pytest.raises(FileError, match="seed: 0 there, 1 here"):
        stream(*call, path, seed=1)
    with pytest.raises(FileError, match=r"environments: 9 there, 8 here; parameters differ\)"):
        stream(lotka, lotka.seen[:8], 1, lotka.times[:3], path)
    marked = stream(*call, tmp_path / "b.zarr", on_blowup="mark")
    with pytest.raises(FileError, match="on_blowup: mark there, raise here"):
        stream(*call, marked)
    save(load(path), tmp_path / "c.zarr")
    with pytest.raises(FileError, match="not written chunk by chunk"):
        stream(*call, tmp_path / "c.zarr")


@pytest.mark.parametrize("chunk", [(1, 1), (3, 2)])
def test_a_blow_up_is_named_then_marked(tmp_path: Path, chunk: tuple[int, int]) -> None:
    path, call = tmp_path / "a.zarr", (Square(), SQUARE, 2, TIMES)
    with pytest.raises(DivergenceError, match=r"Trajectory \d of environment 2 \(p = 1\) of Square") as caught:
        stream(*call, path, chunk=chunk)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.environment == 2
    assert error.time == pytest.approx(float(ENDS[2, error.trajectory]), rel=1e-6)
    assert (path / JOURNAL).read_text().count("\n") == {(1, 1): 2, (3, 2): 0}[chunk]
    with pytest.raises(FileError, match="not complete"):
        load(path)
    stream(*call, path, chunk=chunk, on_blowup="mark", dtype=torch.float32)
    data, labelled = load(path), xarray.open_zarr(path, consolidated=False)
    ends = torch.from_numpy(labelled["blown_up_at"].values)
    torch.testing.assert_close(ends[2], ENDS[2], rtol=1e-6, atol=0)
    assert bool(ends[:2].isnan().all())
    exact = X0[:, None] / (1 - SQUARE[:, :, None] * X0[:, None] * TIMES)
    alive = (ENDS[:, :, None] > TIMES)[..., None]
    assert data.mask is not None
    assert torch.equal(data.mask, alive)
    assert bool(data.states[~alive].isnan().all())
    torch.testing.assert_close(data.states[alive].double(), exact[..., None][alive], rtol=1e-6, atol=0)


def test_what_no_solver_sees_is_marked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p, times = torch.tensor([[0.1], [1.0]], dtype=torch.float64), torch.linspace(0, 100, 11, dtype=torch.float64)
    with pytest.raises(DivergenceError, match=r"Trajectory 0 of environment 1 .* blows up at t = 90"):
        stream(Growing(), p, 2, times, tmp_path / "a.zarr")
    path = stream(Growing(), p, 2, times, tmp_path / "b.zarr", on_blowup="mark")
    ends = xarray.open_zarr(path, consolidated=False)["blown_up_at"].values
    np.testing.assert_array_equal(ends, [[np.nan, np.nan], [90, 90]])
    assert torch.equal(load(path).mask[1, 0, :, 0], times < 90)  # type: ignore[index]
    assert bool(
        torch.isfinite(load(stream(Growing(), p, 2, times, tmp_path / "c.zarr", dtype=torch.float64)).states).all()
    )


class Stiff(Square):
    """x' = -1000 p x: x(t) = x0 exp(-1000 p t), at the cost of steps of about 6 / (1000 p)."""

    def rhs(self, t: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return -1000 * p * x


def test_a_trajectory_without_headway_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leads.integrators.each.MOST_ATTEMPTS", 100)
    p = torch.tensor([[0.0], [10.0]], dtype=torch.float64)
    with pytest.raises(DivergenceError, match=r"Trajectory \d of environment 1 \(p = 10\) of Stiff") as caught:
        stream(Stiff(), p, 2, TIMES, tmp_path / "a.zarr")
    assert 0 < caught.value.time < float(TIMES[1])
    path = stream(Stiff(), p, 2, TIMES, tmp_path / "b.zarr", on_blowup="mark", dtype=torch.float64)
    ends = xarray.open_zarr(path, consolidated=False)["blown_up_at"].values
    assert np.isnan(ends[0]).all()
    assert ((ends[1] > 0) & (ends[1] < float(TIMES[1]))).all()
    data = load(path)
    assert data.mask is not None
    assert bool(data.mask[0].all())
    assert data.mask[1, :, :, 0].tolist() == [[True] + [False] * 4] * 2
    torch.testing.assert_close(data.states[0], X0[:, None, None].expand(2, 5, 1), rtol=1e-12, atol=0)


def test_a_full_disk_is_seen_before_work(
    lotka: EnvironmentFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    needed = 9 * 3 * 20 * 2 * 4
    monkeypatch.setattr(job_module.shutil, "disk_usage", lambda path: usage(10**9, 0, needed - 1))
    with pytest.raises(FileError, match=r"needs up to .* GiB more"):
        stream(lotka, lotka.seen, 3, lotka.times, tmp_path / "a.zarr")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(job_module.shutil, "disk_usage", lambda path: usage(10**9, 0, needed))
    stream(lotka, lotka.seen, 3, lotka.times, tmp_path / "a.zarr")


def test_all_sets_are_checked_before_any_is_made(
    lotka: EnvironmentFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, usage = small(lotka), namedtuple("usage", "total used free")
    needed = (9 * (3 + 2 + 1) + 4 * (1 + 2)) * 20 * 2 * 4
    monkeypatch.setattr(job_module.shutil, "disk_usage", lambda path: usage(10**9, 0, needed - 1))
    with pytest.raises(FileError, match="are free on its disk"):
        stream_sets(family, tmp_path)
    monkeypatch.setattr(job_module.shutil, "disk_usage", lambda path: usage(10**9, 0, needed))
    stream(family, family.unseen, 2, family.times, tmp_path / "adapt_test.zarr", set="adapt_test")
    with pytest.raises(FileError, match=r"adapt_test\.zarr holds another set"):
        stream_sets(family, tmp_path, seed=1)
    assert [p.name for p in tmp_path.iterdir()] == ["adapt_test.zarr"]
    stream_sets(family, tmp_path)


def test_a_disk_that_fills_up_on_the_way(
    lotka: EnvironmentFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "_sync", full)
    with pytest.raises(FileError, match=r"No space left.*run the same again"):
        stream(lotka, lotka.seen, 1, lotka.times, tmp_path / "a.zarr")
    monkeypatch.undo()
    assert load(stream(lotka, lotka.seen, 1, lotka.times, tmp_path / "a.zarr")).n_environments == 9


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"parameters": torch.tensor([[0.5, 0.5, 0.5, 99.0]])}, DataError, "delta of environment 0 is 99"),
        ({"parameters": torch.ones(2, 3)}, ShapeError, r"\(E, 4\)"),
        ({"times": torch.tensor([0.0, 2.0, 1.0])}, LeadsError, "increas"),
        ({"times": torch.zeros(2, 2)}, ShapeError, r"\(T,\)"),
        ({"path": "a.nc"}, FileError, "must end in .zarr"),
        ({"set": "tran"}, UnknownNameError, "Did you mean 'train'"),
        ({"fidelity": "exat"}, UnknownNameError, "Did you mean 'exact'"),
        ({"on_blowup": "marc"}, UnknownNameError, "Did you mean 'mark'"),
        ({"chunk": (0, 1)}, SettingsError, "at least 1"),
        ({"chunk": 0}, SettingsError, "at least one byte"),
        ({"dtype": torch.float16}, SettingsError, "float32 or float64"),
        ({"seed": -1}, SettingsError, "seed=-1"),
        ({"seed": 5000, "set": "test"}, SettingsError, "0 to 999"),
        ({"seed": 1000}, SettingsError, "0 to 999"),
        ({"seed": "a"}, SettingsError, "seed='a'"),
        ({"n_trajectories": -1}, SettingsError, "fewer than 0"),
        ({"n_trajectories": 2.5}, SettingsError, "whole number.*2.5"),
        ({"n_trajectories": True}, SettingsError, "whole number"),
        ({"parameters": "many"}, DataError, "parameters must be a tensor or an array"),
        ({"parameters": np.ones(4)}, ShapeError, r"\(E, 4\)"),
        ({"times": ["a"]}, DataError, "times must be a tensor or an array"),
        ({"times": 3.0}, ShapeError, r"\(T,\)"),
        ({"chunk": 2.5}, SettingsError, "got 2.5"),
        ({"chunk": (1, 2.5)}, SettingsError, "at least 1"),
        ({"workers": 2}, SettingsError, "cluster='local'"),
        ({"workers": "two", "cluster": "local"}, SettingsError, "workers='two'"),
        ({"workers": 1.5, "cluster": "local"}, SettingsError, "workers=1.5"),
    ],
)
def test_bad_input_is_refused_before_work(
    lotka: EnvironmentFamily, tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    call = {"parameters": lotka.seen, "n_trajectories": 1, "times": lotka.times, "path": "a.zarr", **changes}
    call["path"] = tmp_path / str(call["path"])
    with pytest.raises(error, match=message):
        stream(lotka, **call)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_arrays_are_taken_as_tensors_are(lotka: EnvironmentFamily, tmp_path: Path) -> None:
    want = stream(lotka, lotka.seen, 1, lotka.times, tmp_path / "a.zarr")
    seen, times = lotka.seen.numpy()[::-1].copy()[::-1], lotka.times.tolist()  # of negative stride
    got = stream(lotka, seen, np.int64(1), times, tmp_path / "b.zarr", seed=np.int64(0))  # type: ignore[arg-type]
    assert torch.equal(load(got).states, load(want).states)
    assert load(got).attributes == load(want).attributes


def test_what_is_no_family(lotka: EnvironmentFamily, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"needs a family or a System, got 'gray_scott'.*leads\.make"):
        stream("gray_scott", lotka.seen, 1, lotka.times, tmp_path / "a.zarr")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="stream_sets needs a family"):
        stream_sets(lotka.system, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="fresh_environments needs a family"):
        fresh_environments("gray_scott", 3)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="0 to 999"):
        fresh_environments(lotka, 3, seed=1000)


def test_initial_states_beyond_a_seeds_range_are_said(
    lotka: EnvironmentFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(job_module.shutil, "disk_usage", lambda path: usage(0, 0, 0))
    family, call = replace(lotka, shared_initial_states=False), (lotka.seen, 200_000, lotka.times, tmp_path / "a.zarr")
    with pytest.raises(FileError), pytest.warns(UserWarning, match="at least 2 seeds away"):
        stream(family, *call)


def test_empty_sets(lotka: EnvironmentFamily, tmp_path: Path) -> None:
    assert load(stream(lotka, lotka.seen, 0, lotka.times, tmp_path / "a.zarr")).states.shape == (9, 0, 20, 2)


def test_fresh_environments(lotka: EnvironmentFamily) -> None:
    few, many = (fresh_environments(lotka, n, seed=1) for n in (5, 8))
    assert torch.equal(many.seen[:5], few.seen)
    assert torch.equal(few.unseen, lotka.unseen)
    low, high = torch.tensor(lotka.distribution.low), torch.tensor(lotka.distribution.high)
    assert bool(((few.seen >= low) & (few.seen <= high)).all())
    beyond = fresh_environments(lotka, 5, "outside").seen
    assert bool(((beyond < low) | (beyond > high)).any(1).all())


def test_progress_is_shown_where_asked(
    lotka: EnvironmentFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream(lotka, lotka.seen, 1, lotka.times, tmp_path / "a.zarr", chunk=(3, 1))
    assert capsys.readouterr().err == ""
    stream(lotka, lotka.seen, 1, lotka.times, tmp_path / "b.zarr", chunk=(3, 1), progress=True)
    assert "3/3 chunks" in capsys.readouterr().err


def test_without_distributed(lotka: EnvironmentFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SettingsError, match=r"leads-dynamics\[cluster\]"):
        stream(lotka, lotka.seen, 1, lotka.times, tmp_path / "a.zarr", cluster="local")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra 'cluster'")
def test_workers_that_die_are_explained(
    lotka: EnvironmentFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler's answer once every worker that tried a chunk has died, from a client that dies at the second."""
    import distributed

    from leads.trajectories import cluster

    class Future:
        def __init__(self, work: object) -> None:
            self.work = work

        def result(self) -> int:
            if len(submitted) > 1 and self is submitted[1]:
                raise distributed.KilledWorker("chunk", namedtuple("worker", "address")("tcp://here"), 3)
            return self.work()  # type: ignore[operator, no-any-return]

    class Client:
        def scatter(self, job: object, broadcast: bool) -> object:
            return job

        def submit(self, function: object, *args: object, pure: bool) -> Future:
            submitted.append(Future(lambda: function(*args)))  # type: ignore[operator]
            return submitted[-1]

        def nthreads(self) -> dict[str, int]:
            return {"here": 1}

        def cancel(self, futures: list[Future]) -> None:
            cancelled.extend(futures)

    class Completed(list):  # type: ignore[type-arg]
        add = list.append

    submitted: list[Future] = []
    cancelled: list[Future] = []
    monkeypatch.setattr(distributed, "as_completed", Completed)
    call, run = (lotka, lotka.seen, 1, lotka.times, tmp_path / "a.zarr"), cluster.runner(Client())
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["leads.trajectories.stream"], "runner", lambda client: run)
        with pytest.raises(SettingsError, match=r"Workers died again and again.*tcp://here.*kept.*smaller chunk"):
            stream(*call, chunk=(2, 1))
    assert submitted[1] in cancelled
    assert (tmp_path / "a.zarr" / JOURNAL).read_text() == "0 0 0\n"
    assert torch.equal(load(stream(*call)).states, generate(small(lotka), cache=False).train.states[:, :1])


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra 'cluster'")
def test_a_cluster_gives_the_same_bits(lotka: EnvironmentFamily, tmp_path: Path) -> None:
    import distributed

    family = small(lotka, shared_initial_states=False)
    want = generate(family, cache=False)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        for where in (client, cluster.scheduler_address):
            path = tmp_path / f"{type(where).__name__}.zarr"
            stream(family, family.seen, 3, family.times, path, chunk=(1, 2), cluster=where)
            assert torch.equal(load(path).states, want.train.states)
        with pytest.raises(DivergenceError, match="Trajectory 0 of environment 2") as caught:
            stream(Square(), SQUARE, 1, TIMES, tmp_path / "square.zarr", chunk=(1, 1), cluster=client)
        assert caught.value.time == pytest.approx(float(ENDS[2, 0]), rel=1e-6)

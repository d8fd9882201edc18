"""Fleets: the same minima as one by one, in bounded memory, killed and gone on with, on workers, with bad members."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import xarray

import leads
from leads.adaptation.fleets import chunk as fleet_chunk
from leads.adaptation.fleets.normal_equations import BLOCK, Normal, by_differences, by_tangents
from leads.adaptation.fleets.solver import minimise
from leads.adaptation.settings import AdaptSettings
from leads.backbones.coded import Coded
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import DataError, FileError, SettingsError, ShapeError
from leads.trajectories import DataSplits, Trajectories, fresh_environments, save, stream
from leads.trajectories.segments import whole


@pytest.fixture(scope="module")
def geps(data: DataSplits) -> DecomposedDynamics:
    return leads.build("geps", data.train, backbone_settings={"width": 8, "depth": 2}, dim=3)


@pytest.fixture(scope="module")
def many(lotka: EnvironmentFamily, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family = fresh_environments(lotka, 23)
    return stream(family, family.seen, 1, family.times, tmp_path_factory.mktemp("fleet") / "many.zarr", chunk=(5, 1))


def codes(model: DecomposedDynamics, e: int) -> torch.Tensor:
    d = model.adapter.init_context()["code"].numel()
    return 0.1 * torch.randn(e, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["coda", "geps"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_coded_form_equals_the_weights_written_out(
    name: str, dtype: torch.dtype, tolerance: float, request: pytest.FixtureRequest
) -> None:
    """Field and its derivative along the code, against functional calls with each environment's weights and ``jvp``."""
    model = copy.deepcopy(request.getfixturevalue(name)).to(dtype)
    adapter = model.adapter
    assert isinstance(adapter, Coded)
    net = adapter.coded()
    assert net is not None
    c = codes(model, 5).to(dtype)
    x = torch.rand(5, 3, 2, dtype=dtype, generator=torch.Generator().manual_seed(2)) + 0.5
    moves = torch.randn(5, 3, c.shape[1], 2, dtype=dtype, generator=torch.Generator().manual_seed(3))
    out = net(torch.cat([x[:, :, None], moves], 2), c)
    t = x.new_zeros(())
    field = lambda y, code: adapter.forward_all(t, y, adapter.prepare_all({"code": code}))
    torch.testing.assert_close(out[:, :, 0], field(x, c), rtol=tolerance, atol=tolerance)
    for k in range(c.shape[1]):
        along = torch.zeros_like(c)
        along[:, k] = 1
        want = torch.func.jvp(field, (x, c), (moves[:, :, k], along))[1]
        torch.testing.assert_close(out[:, :, k + 1], want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["coda", "geps"])
def test_coded_form_sends_the_same_gradients_to_the_weights(name: str, request: pytest.FixtureRequest) -> None:
    model = copy.deepcopy(request.getfixturevalue(name)).double()
    adapter, c = model.adapter, codes(request.getfixturevalue(name), 4).requires_grad_()
    x = torch.rand(4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    wide = torch.cat([x[:, :, None], x.new_zeros(4, 2, c.shape[1], 2)], 2)
    leaves = [c, *adapter.parameters()]
    one = torch.autograd.grad(adapter.coded()(wide, c)[:, :, 0].square().sum(), leaves)  # type: ignore[operator, union-attr]
    other = torch.autograd.grad(
        adapter.forward_all(x.new_zeros(()), x, adapter.prepare_all({"code": c})).square().sum(), leaves
    )
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_only_perceptrons_have_the_form(diffusion: EnvironmentFamily) -> None:
    for method in ("coda", "geps"):
        model = leads.build(method, diffusion, backbone="conv", backbone_settings={"width": 4})
        assert model.adapter.coded() is None  # type: ignore[operator]
        data = leads.generate(diffusion, cache=False).adapt
        assert by_tangents(model, whole(data), torch.float64) is None


@pytest.mark.parametrize("masked", [False, True])
def test_tangents_equal_differences(coda: DecomposedDynamics, data: DataSplits, masked: bool) -> None:
    model = copy.deepcopy(coda).double().requires_grad_(False)
    adapt = data.adapt.to(dtype=torch.float64)
    if masked:
        seen = torch.rand(adapt.states.shape, generator=torch.Generator().manual_seed(0)) < 0.6
        seen[:, :, 0] = True
        adapt = replace(adapt, states=adapt.states.masked_fill(~seen, torch.nan), mask=seen)
    segments, c = whole(adapt), codes(model, 4)
    tangents = by_tangents(model, segments, torch.float64)
    assert tangents is not None
    a, b = tangents(torch.arange(4), c), by_differences(model, segments, {"code": c}, 2**20, 100)(torch.arange(4), c)
    for name in ("cost", "gradient", "hessian"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-6, atol=1e-9)


def test_the_solver_leaves_the_converged_alone() -> None:
    """Quadratic costs |c - m|^2 + prior |c|^2: minima in closed form, and the number of evaluations of each."""
    m = torch.tensor([[1.0, 2.0], [0.0, 0.0], [-3.0, 0.5]], dtype=torch.float64)
    asked: list[list[int]] = []

    def equations(rows: torch.Tensor, c: torch.Tensor) -> Normal:
        asked.append(rows.tolist())
        gap = c - m[rows]
        cost = gap.square().sum(1)
        cost[rows == 2] = torch.where(gap[rows == 2].abs().sum(1) > 9, torch.nan, cost[rows == 2])
        return Normal(cost, gap, torch.eye(2, dtype=torch.float64).expand(len(rows), 2, 2).clone())

    zero = torch.zeros(3, 2, dtype=torch.float64)
    found = minimise(equations, zero, zero, 0.25, 1e-10, 30)
    torch.testing.assert_close(found.contexts, m / 1.25, rtol=1e-5, atol=1e-5)
    assert bool(found.converged.all())
    assert asked[0] == [0, 1, 2]
    assert asked[1] == [0, 2]
    start = torch.full((3, 2), 9.0, dtype=torch.float64)
    found = minimise(equations, start, zero, 0.0, 1e-10, 30)
    assert found.sound.tolist() == [True, True, False]
    assert found.converged.tolist() == [True, True, False]


def test_the_same_minima_as_adapt(coda: DecomposedDynamics, many: Path, tmp_path: Path) -> None:
    want = leads.adapt(coda, leads.trajectories.load(many))
    results = leads.adapt_many(coda, many, tmp_path / "r.zarr", chunk=10)
    got = results.adapted(slice(None))
    torch.testing.assert_close(torch.tensor(got.info["loss"]), torch.tensor(want.info["loss"]), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(got.contexts["code"], want.contexts["code"], rtol=1e-3, atol=1e-4)
    assert want.covariance is not None
    assert got.covariance is not None
    torch.testing.assert_close(got.covariance, want.covariance, rtol=1e-2, atol=1e-9)
    assert got.info["converged"] == [True] * 23
    assert torch.equal(got.parameters, leads.trajectories.load(many).parameters)
    with xarray.open_zarr(results.path, consolidated=False) as r:
        assert r.attrs["complete"] is True
        assert r["context_code"].sizes == {"environment": 23, "code_0": 2}
        assert r["loss"].encoding["chunks"] == (10,)
        # Variance on 38 - 2 degrees of freedom.
        assert float(abs(r["noise"] ** 2 * 36 / 38 / r["loss"] - 1).max()) < 1e-9
    assert results.summary()["converged"] == 23
    few = results.adapted([3, 20])
    x0 = leads.trajectories.load(many).select(environments=[3, 20]).initial
    assert few.forecast(x0, data_times(many)).shape == (2, 1, 20, 2)


def data_times(path: Path) -> torch.Tensor:
    return leads.trajectories.load(path).times


def test_noise_and_covariance_of_a_known_truth(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    """Data made by the model itself with noise 0.01: its level is found, and errors are as large as the covariance says."""
    truth = torch.tensor([[0.1, -0.05]]).expand(300, 2)
    with torch.no_grad():
        clean = coda.rollout(data.test.initial[:1, :1].expand(300, -1, -1), data.test.times, {"code": truth})
    noise = 1e-2 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noise[:, :, 0] = 0
    results = leads.adapt_many(coda, Trajectories(clean + noise, data.test.times), tmp_path / "r.zarr")
    got = results.adapted(slice(None))
    assert float(torch.tensor(got.info["noise"]).square().mean().sqrt()) == pytest.approx(1e-2, rel=0.03)
    assert got.covariance is not None
    error = (got.contexts["code"] - truth).double()
    distance = torch.einsum("ei,eij,ej->e", error, torch.linalg.inv(got.covariance), error)
    assert 1.6 < float(distance.mean()) < 2.4  # chi squared with two degrees of freedom has mean 2


def test_an_environment_does_not_depend_on_its_chunk(coda: DecomposedDynamics, many: Path, tmp_path: Path) -> None:
    a, b = (leads.adapt_many(coda, many, tmp_path / f"{k}.zarr", chunk=k).adapted(slice(None)) for k in (7, 23))
    torch.testing.assert_close(a.contexts["code"], b.contexts["code"], rtol=1e-4, atol=1e-5)


KILLED = """
import os, signal, sys, leads
from leads.trajectories import store
count, mark = 0, store.Journal.mark
def marked(self, *chunk):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    mark(self, *chunk)
store.Journal.mark = marked
leads.adapt_many(leads.load_model(sys.argv[1]), sys.argv[2], sys.argv[3], chunk=6)
"""


def test_a_killed_call_goes_on(coda: DecomposedDynamics, many: Path, tmp_path: Path) -> None:
    model, path = tmp_path / "m.safetensors", tmp_path / "r.zarr"
    leads.save_model(coda, model)
    command = [sys.executable, "-c", KILLED, str(model), str(many), str(path)]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (path / ".journal").write_bytes((path / ".journal").read_bytes() + b"2 ")  # a torn line does not count
    stamp = lambda: [(path / "loss/c" / str(i)).stat().st_mtime_ns for i in range(3)]
    before = stamp()
    with xarray.open_zarr(path, consolidated=False) as r:
        assert r.attrs["complete"] is False
    loaded = leads.load_model(model)
    with pytest.raises(FileError, match="other settings"):
        leads.adapt_many(loaded, many, path, prior=1.0)
    leads.adapt_many(loaded, many, path)  # keeps the chunks it was begun with
    after = stamp()
    assert before[:2] == after[:2]
    assert before[2] < after[2]  # its results were there, but it did not count yet
    whole_run = leads.adapt_many(loaded, many, tmp_path / "w.zarr", chunk=6)
    with xarray.open_zarr(path, consolidated=False) as r:
        assert r.identical(whole_run.open())
    leads.adapt_many(loaded, many, path)
    assert stamp() == after


def test_other_results_are_refused(coda: DecomposedDynamics, many: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.zarr"
    leads.adapt_many(coda, many, path)
    other = leads.build("coda", leads.trajectories.load(many), backbone_settings={"width": 16})
    with pytest.raises(FileError, match="other model"):
        leads.adapt_many(other, many, path)
    with pytest.raises(FileError, match="other environments, observations"):
        leads.adapt_many(coda, leads.trajectories.load(many).select(environments=slice(0, 4)), path)


def test_bad_members_stop_no_other(coda: DecomposedDynamics, many: Path, tmp_path: Path) -> None:
    coda = copy.deepcopy(coda).double()
    data = leads.trajectories.load(many).to(dtype=torch.float64)
    states = data.states.clone()
    states[4] = 1e200  # its square is no number
    broken = replace(data, states=states)
    results = leads.adapt_many(coda, broken, tmp_path / "r.zarr")
    assert results.summary() | {"median_loss": 0} == {
        "environments": 23, "converged": 22, "failed": 1, "diverged": 1, "restarted": 0, "median_loss": 0,
    }  # fmt: skip
    assert results.failures() == {4: "Environment 4 has no fit: the rollout from its starting context is not finite."}
    got, want = results.adapted(slice(None)), leads.adapt_many(coda, many, tmp_path / "w.zarr").adapted(slice(None))
    rest = [e for e in range(23) if e != 4]
    torch.testing.assert_close(got.contexts["code"][rest], want.contexts["code"][rest], rtol=1e-4, atol=1e-5)
    slow = leads.adapt_many(
        coda, broken.select(environments=slice(2, 6)), tmp_path / "s.zarr", solver="gradient", steps=2
    )
    assert slow.summary()["diverged"] == 1


def test_what_was_not_observed_stops_no_other(coda: DecomposedDynamics, many: Path, tmp_path: Path) -> None:
    """All NaN without a mask, an empty first frame and a hole, in a file: two are marked, the hole is left out."""
    with xarray.open_zarr(many, consolidated=False) as dataset:
        holes = dataset.load()
    holes.attrs = {}
    names = list(holes.data_vars)
    for name in names:
        holes[name][2] = float("nan")
        holes[name][5, :, 0] = float("nan")
    holes[names[0]][7, :, 9] = float("nan")
    holes.to_netcdf(tmp_path / "holes.nc", engine="h5netcdf")
    for chunk in (4, 23):
        results = leads.adapt_many(coda, tmp_path / "holes.nc", tmp_path / f"{chunk}.zarr", chunk=chunk)
        assert results.failures() == {
            2: "Environment 2 has no fit: all of its values that could be fitted are missing.",
            5: "Environment 5 has no fit: its first frame is not wholly observed, and a forecast starts from it "
            "(initial='estimated' finds it).",
        }
        with xarray.open_zarr(results.path, consolidated=False) as r:
            assert r["failure"].attrs["flag_meanings"].split()[int(r["failure"][2])] == "no_observed_value"
    got, want = results.adapted(slice(None)), leads.adapt_many(coda, many, tmp_path / "w.zarr").adapted(slice(None))
    rest = [e for e in range(23) if e not in (2, 5, 7)]
    torch.testing.assert_close(got.contexts["code"][rest], want.contexts["code"][rest], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.contexts["code"][7], want.contexts["code"][7], rtol=0.1, atol=0.05)
    assert bool(torch.isnan(got.contexts["code"][2]).all())
    assert got.info["failure"][:3] == [None, None, "no_observed_value"]
    found = leads.adapt_many(coda, tmp_path / "holes.nc", tmp_path / "e.zarr", initial="estimated", chunk=8)
    assert list(found.failures()) == [2]


def test_the_doubted_are_solved_again_as_adapt_does(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    """Two frames of one environment say little, and noise as large as the signal in another fits nothing."""
    mask = torch.ones_like(data.adapt.states, dtype=torch.bool)
    mask[1, :, 3:, 1], mask[1, :, 2:] = False, False
    states = data.adapt.states.clone()
    states[2, :, 1:] += 3 * torch.randn(states[2, :, 1:].shape, generator=torch.Generator().manual_seed(0))
    support = replace(data.adapt, states=states, mask=mask)
    want = leads.adapt(coda, support)
    results = leads.adapt_many(coda, support, tmp_path / "r.zarr")
    got = results.adapted(slice(None))
    assert want.info["restarted"] == [None, "open direction", "poor fit", None]
    with results.open() as r:
        assert r["restarted"].values.tolist() == [0, 2, 1, 0]
    torch.testing.assert_close(got.contexts["code"], want.contexts["code"], rtol=1e-3, atol=1e-4)
    plain = leads.adapt_many(coda, support, tmp_path / "p.zarr", starts=1, prior=0.0)
    assert plain.summary()["restarted"] == 0


def test_other_models_and_settings(data: DataSplits, tmp_path: Path) -> None:
    """Models without tangents by differences; those whose source adapts them already, and the gradient solver, by adapt."""
    for method, settings in (("cavia_film", {}), ("leads", {"solver": "gradient", "steps": 5})):
        model = leads.build(method, data.train, backbone_settings={"width": 8})
        results = leads.adapt_many(model, data.adapt, tmp_path / f"{method}.zarr", **settings)
        got, want = results.adapted(slice(None)), leads.adapt(model, data.adapt, **settings)
        torch.testing.assert_close(
            torch.tensor(got.info["loss"]), torch.tensor(want.info["loss"]), rtol=1e-3, atol=1e-9
        )
        assert {k: v.shape for k, v in got.contexts.items()} == {k: v.shape for k, v in want.contexts.items()}


def test_differences_serve_what_has_no_tangents(diffusion: EnvironmentFamily, tmp_path: Path) -> None:
    sets = leads.generate(diffusion, cache=False)
    model = leads.build("coda", diffusion, backbone="conv", backbone_settings={"width": 4}, spread=0.5)
    support = sets.train
    got = leads.adapt_many(model, support, tmp_path / "r.zarr", memory=2**22).adapted(slice(None))
    want = leads.adapt(model, support)
    torch.testing.assert_close(torch.tensor(got.info["loss"]), torch.tensor(want.info["loss"]), rtol=1e-5, atol=1e-12)


def test_compiled_blocks(data: DataSplits) -> None:
    from leads.integrators.compiled import cannot_compile

    if cannot_compile() is not None:
        pytest.skip("no compiler")
    model = leads.build("coda", data.train, backbone_settings={"width": 8, "depth": 1}).double().requires_grad_(False)
    x = torch.rand(BLOCK, 1, 3, 2, dtype=torch.float64) + 1
    segments = whole(Trajectories(x, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)))
    plain, fast = (by_tangents(model, segments, torch.float64, compile=c) for c in (False, True))
    assert plain is not None
    assert fast is not None
    c = codes(model, BLOCK)
    a, b = plain(torch.arange(BLOCK), c), fast(torch.arange(BLOCK), c)
    torch.testing.assert_close(a.cost, b.cost, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(a.hessian, b.hessian, rtol=1e-12, atol=1e-14)


def test_on_local_workers(coda: DecomposedDynamics, many: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    here = leads.adapt_many(coda, many, tmp_path / "h.zarr", chunk=6)
    there = leads.adapt_many(coda, many, tmp_path / "t.zarr", chunk=6, cluster="local", workers=1)
    assert here.open().identical(there.open())


def test_bad_input(coda: DecomposedDynamics, many: Path, data: DataSplits, tmp_path: Path) -> None:
    path = tmp_path / "r.zarr"
    with pytest.raises(FileError, match="no dataset"):
        leads.adapt_many(coda, tmp_path / "nothing.zarr", path)
    (tmp_path / "text.nc").write_text("no dataset")
    with pytest.raises(FileError, match=r"text\.nc is damaged"):
        leads.adapt_many(coda, tmp_path / "text.nc", path)
    with pytest.raises(FileError, match=r"kept as \.zarr"):
        leads.adapt_many(coda, many, tmp_path / "r.nc")
    with pytest.raises(SettingsError, match="Did you mean 'iterations'"):
        leads.adapt_many(coda, many, path, iteration=3)
    with pytest.raises(SettingsError, match="must be positive"):
        leads.adapt_many(coda, many, path, chunk=0)
    with pytest.raises(DataError, match="Raise memory"):
        leads.adapt_many(coda, many, path, memory=100)
    with pytest.raises(ShapeError, match=r"forecasts states .* \(2,\)"):
        leads.adapt_many(coda, Trajectories(torch.zeros(1, 1, 3, 5), torch.arange(3, dtype=torch.float64)), path)
    with pytest.raises(ShapeError, match="at least two"):
        leads.adapt_many(coda, data.adapt.select(frames=slice(0, 1)), path)
    save(data.adapt, tmp_path / "plain.zarr")
    with pytest.raises(FileError, match="not written chunk by chunk"):
        leads.adapt_many(coda, many, tmp_path / "plain.zarr")
    assert not path.exists()
    assert AdaptSettings.__dataclass_fields__.keys() >= fleet_chunk.PLAIN

"""One-step maps: ``x + F(x)`` from frame to frame in place of an integrated field."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import leads
from leads.cli.hydra import compose
from leads.environments import EnvironmentFamily
from leads.errors import DataError, SettingsError
from leads.experiment import Run, run_fit
from leads.integrators import integrate
from leads.training import ScheduledSampling
from leads.training.episodes import sampled
from leads.trajectories import DataSplits
from leads.trajectories.segments import windows

F64 = torch.float64


def test_equals_powers_of_a_matrix_whatever_the_frames_distance() -> None:
    a = torch.tensor([[0.9, 0.2], [-0.3, 0.8]], dtype=F64)
    x0 = torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    for dt in (1.0, 0.25, 30.0):
        calls: list[float] = []

        def step(t: torch.Tensor, x: torch.Tensor, seen: list[float] = calls) -> torch.Tensor:
            seen.append(float(t))
            return x @ a.T - x

        states = integrate(step, x0, 7 + dt * torch.arange(6, dtype=F64), method="map")
        for k in range(6):
            torch.testing.assert_close(states[k], x0 @ torch.linalg.matrix_power(a, k).T)
        assert calls == [7 + dt * k for k in range(5)]


def test_entries_on_their_own_times_stand_still_where_theirs_do() -> None:
    times = torch.tensor([[0.0, 0.5, 1.0], [1.5, 2.0, 2.0], [0.5, 0.5, 0.5]], dtype=F64).mT
    states = integrate(lambda t, x: x * t[:, None], torch.ones(3, 2, dtype=F64), times, method="map")
    # x -> x + t x with the time of each entry's own frame: (1 + 0)(1 + 0.5), then 1 + 1.5, then nothing.
    torch.testing.assert_close(states[-1, :, 0], torch.tensor([1.0 * 1.5, 2.5, 1.0], dtype=F64))
    torch.testing.assert_close(states[1, :, 0], torch.tensor([1.0, 2.5, 1.0], dtype=F64))


def test_bad_input(data: DataSplits) -> None:
    x, still = torch.ones(2, 2), lambda t, x: 0 * x
    with pytest.raises(DataError, match=r"equally far apart, but these lie between 1 and 1\.5 apart"):
        integrate(still, x, torch.tensor([0.0, 1.0, 2.5]), method="map")
    with pytest.raises(DataError, match="equally far apart"):
        integrate(still, x, torch.tensor([[0.0, 0.0], [1.0, 2.0]]), method="map")
    with pytest.raises(DataError, match="increase strictly"):
        integrate(still, x, torch.tensor([0.0, 1.0, 1.0]), method="map")
    with pytest.raises(SettingsError, match="no steps between"):
        integrate(still, x, torch.arange(3.0), method="map", substeps=2)
    with pytest.raises(SettingsError, match="no steps between"):
        integrate(still, x, torch.arange(3.0), method="map", max_step=0.1)
    with pytest.raises(SettingsError, match="no steps between"):
        leads.build("erm", data.train, method="map", substeps=2)
    # Times as float32 carries them are still equally far apart.
    far = (1e4 + 0.1 * torch.arange(50, dtype=F64)).float()
    assert integrate(still, x, far, method="map").shape[0] == 50


def test_a_model_rolls_out_by_repeated_application(data: DataSplits) -> None:
    model = leads.build("coda", data.train, method="map", backbone_settings={"width": 8}).double()
    codes = torch.randn(9, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    x0 = data.train.initial.double()
    states = model.rollout(x0, data.train.times, {"code": codes})
    for e in (0, 8):
        weights, x = model.adapter.prepare({"code": codes[e]}), x0[e]
        for k in range(1, len(data.train.times)):
            x = x + model.adapter(torch.zeros(()), x, weights)
            torch.testing.assert_close(states[e, :, k], x)


def test_windows_and_scheduled_sampling_cut_the_same_map(data: DataSplits) -> None:
    model = leads.build("erm", data.train, method="map", backbone_settings={"width": 8}).double()
    batch = data.train.to(dtype=F64)
    x = batch.states
    net = lambda y: y + model.adapter(torch.zeros(()), y.reshape(-1, 2), None).reshape(y.shape)
    one = (net(x[:, :, :-1]) - x[:, :, 1:]).square().mean((1, 2, 3))
    torch.testing.assert_close(model.loss_per_environment(windows(batch, 1), {}), one)
    rule = ScheduledSampling(start=0.5, decay=1.0)
    segments = sampled(batch, rule, 0, torch.Generator().manual_seed(0))
    assert segments.times.ndim > 1  # of several lengths
    restart = torch.rand(x.shape[2] - 2, generator=torch.Generator().manual_seed(0)) < 0.5
    y, total = x[:, :, 0], 0.0
    for k in range(1, x.shape[2]):
        y = net(y)
        total = total + (y - x[:, :, k]).square().mean((1, 2)) / (x.shape[2] - 1)
        if k - 1 < len(restart) and bool(restart[k - 1]):
            y = x[:, :, k]
    torch.testing.assert_close(model.loss_per_environment(segments, {}), total)


def test_learns_and_adapts_the_flow_of_diffusion(diffusion: EnvironmentFamily) -> None:
    """The flow map of u_t = D u_xx is linear in u: one periodic network learns it for two D and finds a third."""
    splits = leads.generate(diffusion, cache=False)
    model = leads.build(
        "coda", diffusion, "conv", {"width": 8, "kernel": 5}, method="map", dim=1, context_penalty=1e-6, l1=0.0
    )
    rule = ScheduledSampling(start=0.5, decay=0.9, every=10)
    leads.fit(model, splits.train, steps=300, lr=1e-2, scheduled_sampling=rule)
    truth = splits.adapt_test
    mse = lambda x: float((x - truth.states)[:, :, 1:].square().mean())
    adapted = mse(leads.adapt(model, splits.adapt).forecast(truth.initial, truth.times))
    assert adapted < 0.05 * mse(truth.states.mean((-1, -2), keepdim=True))
    with torch.no_grad():
        seen = [
            mse(model.rollout(truth.initial, truth.times, {"code": row[None]})) for row in model.source.table()["code"]
        ]
    assert adapted < 0.5 * min(seen)


def test_from_a_configuration_to_a_run(tmp_path: Path) -> None:
    quick = ["trainer.steps=4", "trainer.validate_every=2", "backbone.settings.width=8", "progress=false"]
    folder = run_fit(compose(["method=coda", *quick, "integrator=map", f"run_dir={tmp_path / 'a'}"]))
    assert Run(folder).seen().model.method == "map"

from __future__ import annotations

import pytest
import torch

import leads
from leads.errors import SettingsError, ShapeError
from leads.trajectories import DataSplits
from leads.trajectories.segments import cut, windows


def test_rollout_equals_a_loop_over_environments(data: DataSplits) -> None:
    model = leads.build("coda", data.train, backbone_settings={"width": 8}).double()
    contexts = {"code": torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))}
    x0 = data.train.initial.double()
    together = model.rollout(x0, data.train.times, contexts)
    for e in range(9):
        alone = model.rollout(x0[e : e + 1], data.train.times, {"code": contexts["code"][e : e + 1]})
        torch.testing.assert_close(together[e : e + 1], alone, rtol=1e-11, atol=1e-11)
    weights = model.adapter.prepare({"code": contexts["code"][2]})
    x, h = x0[2], 0.5
    f = lambda y: model.adapter(torch.zeros(()), y, weights)
    k1 = f(x)
    k2 = f(x + h / 2 * k1)
    k3 = f(x + h / 2 * k2)
    k4 = f(x + h * k3)
    torch.testing.assert_close(together[2, :, 1], x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))


def test_gradients_of_contexts_against_finite_differences(data: DataSplits) -> None:
    model = leads.build("coda", data.train, backbone_settings={"width": 6}).double()
    batch = data.train.to(dtype=torch.float64).select(frames=slice(0, 5))
    code = torch.full((9, 2), 0.3, dtype=torch.float64, requires_grad=True)
    loss = lambda c: model.loss_per_environment(batch, {"code": c}).sum()
    assert torch.autograd.gradcheck(loss, code, eps=1e-6, atol=1e-7)


def test_segments_side_by_side_equal_separate_rollouts(data: DataSplits) -> None:
    model = leads.build("coda", data.train, backbone_settings={"width": 8}).double()
    batch = data.train.to(dtype=torch.float64)
    contexts = {"code": torch.zeros(9, 2, dtype=torch.float64)}
    starts, lengths = [0, 3, 4], [3, 1, 15]
    error = model.residuals(cut(batch, starts, lengths), contexts)
    per_segment = error.unflatten(1, (batch.n_trajectories, 3))
    for i, (a, n) in enumerate(zip(starts, lengths, strict=True)):
        forecast = model.rollout(batch.states[:, :, a], batch.times[a : a + n + 1], contexts)
        torch.testing.assert_close(per_segment[:, :, i, :n], forecast[:, :, 1:] - batch.states[:, :, a + 1 : a + n + 1])
        assert n == 15 or float(per_segment[:, :, i, n:].detach().abs().max()) == 0


def test_unobserved_entries_do_not_count(data: DataSplits) -> None:
    model = leads.build("erm", data.train, backbone_settings={"width": 8})
    x = data.train.states.clone()
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, :, 5, 0] = False
    x[:, :, 5, 0] = float("nan")
    masked = leads.Trajectories(x, data.train.times, mask=mask)
    loss = model.loss_per_environment(windows(masked.select(frames=slice(0, 6)), 5), {})
    assert bool(torch.isfinite(loss).all())
    loss.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_bad_input(data: DataSplits) -> None:
    model = leads.build("coda", data.train)
    with pytest.raises(ShapeError, match="covers 3 environments, the initial states 9"):
        model.rollout(data.train.initial, data.train.times, {"code": torch.zeros(3, 2)})
    with pytest.raises(SettingsError, match="substeps"):
        leads.build("coda", data.train, substeps=0)

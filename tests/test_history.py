"""Models that see past frames: cut, trained, adapted, evaluated and saved as any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import leads
from leads.algorithms import algorithms
from leads.errors import SettingsError, ShapeError
from leads.trajectories import Trajectories
from leads.trajectories.segments import cut, stacked, whole, windows

F64 = torch.float64


def swings(environments: int = 3, trajectories: int = 3, frames: int = 16) -> Trajectories:
    """Positions alone of oscillators x = A cos(w t + phi), a frequency for each environment: x_{k+1} follows from the
    last two frames, and not from one."""
    g = torch.Generator().manual_seed(0)
    w = torch.linspace(0.8, 1.2, environments, dtype=F64)
    phase = 6.28 * torch.rand(environments, trajectories, 1, dtype=F64, generator=g)
    t = 0.4 * torch.arange(frames, dtype=F64)
    x = torch.cos(w[:, None, None] * t + phase)
    return Trajectories(x[..., None].float(), t, w[:, None])


def counting() -> Trajectories:
    states = torch.arange(2 * 10, dtype=F64).reshape(1, 2, 10, 1)
    return Trajectories(states, torch.arange(10, dtype=F64))


def test_segments_bring_the_frames_before_them() -> None:
    s = whole(counting(), 3)
    assert s.initial[0, :, :, 0].tolist() == [[0, 1, 2], [10, 11, 12]]
    assert s.target[0, 0, :, 0].tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert s.times.tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    s = windows(counting(), 3, 3)
    assert s.initial[0, :3, :, 0].tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert s.target[0, :3, :, 0].tolist() == [[3, 4, 5], [5, 6, 7], [7, 8, 9]]
    s = cut(counting(), [1, 4], [1, 2], 2)
    assert s.initial[0, 2:, :, 0].tolist() == [[10, 11], [13, 14]]
    assert s.observed is not None
    assert s.observed[0, :, :, 0].tolist() == [[True, False], [True, True]] * 2
    folded = stacked(counting(), 3)
    assert folded.states[0, 1].tolist() == [[10, 11, 12], [13, 14, 15], [16, 17, 18]]
    assert folded.times.tolist() == [2, 5, 8]


def test_rollout_is_the_recurrence_of_its_network() -> None:
    data = swings().to(dtype=F64)
    model = leads.build("coda", data, history=3, method="map", backbone_settings={"width": 8}).double()
    codes = torch.randn(3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    states = model.rollout(data.first(3), data.times[2:], {"code": codes})
    for e in range(3):
        weights, frames = model.adapter.prepare({"code": codes[e]}), list(data.first(3)[e].unbind(1))
        for k in range(1, 5):
            out = model.adapter(torch.zeros(()), torch.cat(frames[-3:], 1), weights)
            assert out.shape == (3, 3)
            frames.append(frames[-1] + out[:, -1:])
            torch.testing.assert_close(states[e, :, k], frames[-1])


@pytest.mark.parametrize("method", ["map", "rk4"])
def test_two_frames_say_what_one_cannot(method: str, tmp_path: Path) -> None:
    data = swings(frames=14)
    settings = {"steps": 300, "lr": 1e-2, "horizons": (1, 3), "validate_every": 50}
    losses = {}
    for history in (1, 2):
        model = leads.build(
            "coda",
            data,
            history=history,
            method=method,
            backbone_settings={"width": 16, "depth": 2},
            context_penalty=1e-5,
        )
        leads.fit(model, data, settings=None, **settings)
        seen = leads.trained(model)
        losses[history] = leads.evaluate(seen, data, names=["mse"]).scores["all"]["mse"]
    assert losses[2] < 0.1 * losses[1]
    new = swings(environments=2, trajectories=2, frames=12)
    adapted = leads.adapt(model, new)
    assert adapted.info["solver"] == "levenberg_marquardt"
    assert max(adapted.info["loss"]) < 0.05
    adapted.save(tmp_path / "a.safetensors")
    again = leads.Adapted.load(tmp_path / "a.safetensors")
    assert again.model.history == 2
    forecast = adapted.forecast(new.first(2), new.times[1:])
    assert forecast.shape == (2, 2, 11, 1)
    assert torch.equal(forecast, again.forecast(new.first(2), new.times[1:]))
    assert torch.equal(forecast[:, :, 0], new.states[:, :, 1])


@pytest.mark.parametrize("name", [a for a in algorithms if a not in ("dyad", "amortised", "camel")])
def test_every_algorithm_takes_a_history(name: str) -> None:
    data = swings(frames=8)
    settings = {"inner_lr": 1e-3} if name in ("maml", "anil", "meta_sgd", "cavia_concat", "cavia_film") else {}
    model = leads.build(name, data, history=2, backbone_settings={"width": 6}, **settings)
    leads.fit(model, data, steps=2, horizons=(2,))
    adapted = leads.adapt(model, data, steps=2, iterations=2)
    assert leads.evaluate(adapted, data, names=["mse"]).scores["all"]["mse"] < 1e3


def test_the_closed_form_refuses_past_frames() -> None:
    with pytest.raises(SettingsError, match="Ridge finds contexts for a field of the present state alone"):
        leads.build("camel", swings(frames=8), history=2, backbone_settings={"width": 6})


def test_penalties_see_what_the_network_sees() -> None:
    data = swings(frames=7).to(dtype=F64)
    model = leads.build("leads", data, history=3, backbone_settings={"width": 6}, weight=2.0, alpha=0.0).double()
    contexts = model.source.table()
    x = torch.stack([data.states[:, :, 0:3, 0], data.states[:, :, 3:6, 0]], 2)  # (E, N, 2, 3)
    expected = torch.zeros((), dtype=F64)
    for e in range(3):
        own = {k: v[e] for k, v in contexts.items()}
        y = x[e].reshape(-1, 3)
        g = torch.func.functional_call(model.adapter.residual, own, (torch.zeros(()), y))  # type: ignore[arg-type]
        expected = expected + 2 * (g.norm(dim=1) / (y.norm(dim=1) + 1e-5)).square().mean()
    torch.testing.assert_close(model.penalty(contexts, data), expected)


def test_gradients_through_a_history() -> None:
    data = swings(frames=6).to(dtype=F64)
    model = leads.build("coda", data, history=2, backbone_settings={"width": 4}).double()
    code = torch.full((3, 2), 0.3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: model.loss_per_environment(data, {"code": c}), code, atol=1e-7)


def test_bad_input() -> None:
    data = swings(frames=5)
    with pytest.raises(SettingsError, match="at least 1, got 0"):
        leads.build("erm", data, history=0)
    model = leads.build("erm", data, history=5)
    with pytest.raises(ShapeError, match="at least 6 are needed"):
        leads.fit(model, data, steps=1)
    with pytest.raises(ShapeError, match="at least 6 are needed"):
        leads.adapt(model, data)
    model = leads.build("coda", data, history=2)
    with pytest.raises(ShapeError, match=r"starts from 2 frames.*first\(2\)"):
        model.rollout(data.initial, data.times, model.source.table())
    with pytest.raises(ShapeError, match=r"\(E, N, history, C, \*X\)"):
        leads.trained(model).forecast(data.initial, data.times)
    with pytest.raises(ShapeError, match="T >= 9"):
        data.first(9)
    with pytest.raises(SettingsError, match="support_frames=2 is not more than the 2 past frames"):
        leads.fit(model, data, steps=1, support_frames=2)
    physics = {"family": "lotka_volterra", "shared": dict.fromkeys(("alpha", "beta", "gamma", "delta"), 0.5)}
    two = Trajectories(torch.rand(2, 2, 5, 2), data.times)
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        leads.build("aphynity", two, history=2, physics=physics)

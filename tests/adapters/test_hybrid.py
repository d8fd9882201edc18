from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import leads
from leads.adapters.hybrid import Hybrid, hybrid
from leads.adapters.low_rank import LowRank
from leads.adapters.physics import Physics, physics_of
from leads.adapters.shared import Shared
from leads.backbones import backbones
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics
from leads.environments import Channel, Parameter, System
from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.testing import check_adapter
from leads.trajectories import Trajectories

LOTKA = {"alpha": 0.5, "beta": 0.5, "gamma": 0.5, "delta": 0.5}


def mlp() -> Any:
    return backbones["mlp"]((2,), width=5)


def zeroed(adapter: Any) -> Any:
    for p in adapter.parameters():
        torch.nn.init.zeros_(p)
    return adapter.double()


CASES: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"family": "lotka_volterra", "own": LOTKA}, (2,)),
    ({"family": "lotka_volterra", "terms": ["birth", "death"], "shared": {"alpha": 0.5}, "own": {"gamma": 0.5}}, (2,)),
    ({"family": "pendulum", "terms": ["oscillation"], "coded": {"omega0": 0.7}, "code": 8}, (2,)),
    ({"family": "reaction_diffusion", "arguments": {"size": 8}, "terms": ["diffusion"],
      "own": {"a": 1e-3}, "shared": {"b": 5e-3}}, (2, 8, 8)),
    ({"family": "wave_1d", "arguments": {"size": 16}, "own": {"c": 3.0, "k": 5.0}}, (2, 16)),
    ({"family": "gray_scott", "arguments": {"size": 10}, "own": {"F": 0.03, "k": 0.06}}, (2, 10, 10)),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["additive", "serial", "residual"])
@pytest.mark.parametrize(("physics", "shape"), CASES, ids=lambda c: c.get("family") if isinstance(c, dict) else "")
def test_contract(physics: dict[str, Any], shape: tuple[int, ...], mode: str) -> None:
    network = "mlp" if len(shape) == 1 else "conv"
    make = lambda: backbones[network](shape, width=4)
    check_adapter(lambda m: hybrid(m, physics, "low_rank", mode=mode, size=0.0 if mode == "serial" else 1.0), make)


@pytest.mark.parametrize("name", ["lotka_volterra", "pendulum", "gray_scott"])
def test_complete_physics_and_a_silent_network_follow_the_system(name: str) -> None:
    family = leads.make(name, size=10) if name == "gray_scott" else leads.make(name)
    system, p = family.system, family.seen[1]
    x0 = system.sample_x0(2, np.random.RandomState(0))[None]
    t = family.times[:6] / (40 if name == "gray_scott" else 1)
    network = "conv" if name == "gray_scott" else "mlp"
    physics = Physics(system, fixed={s.name: float(v) for s, v in zip(system.parameters, p, strict=True)})
    adapter = zeroed(Hybrid(physics, Shared(lambda: backbones[network](system.state_shape, width=4))))
    exact = system.simulate(x0, p[None], t)
    errors = []
    for substeps in (8, 16):
        model = DecomposedDynamics(adapter, Table(adapter, 1), substeps=substeps)
        errors.append(float((model.rollout(x0, t, {}) - exact).detach().abs().max()))
    assert errors[1] < 1e-6
    assert 12 < errors[0] / errors[1] < 21  # the order of rk4


@pytest.mark.parametrize("mode", ["additive", "serial", "residual"])
def test_modes_by_hand(mode: str) -> None:
    adapter = hybrid(mlp, {"family": "lotka_volterra", "fixed": LOTKA}, mode=mode).double()
    x, t = torch.rand(3, 4, 2, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    h = leads.make("lotka_volterra").system.rhs(t, x, torch.tensor(list(LOTKA.values()), dtype=torch.float64))
    network = adapter.learned.backbone
    expected = {"additive": h + network(t, x), "serial": network(t, h), "residual": h + network(t, h)}[mode]
    torch.testing.assert_close(adapter.forward_all(t, x, adapter.prepare_all({})), expected)


def test_gradients_of_physical_parameters_against_differences() -> None:
    torch.manual_seed(0)
    settings = {"shared": {"omega0": 0.8}, "own": {"alpha": 0.2}, "fixed": {"f0": 0.1, "w_f": 1.0}}
    adapter = hybrid(mlp, {"family": "pendulum", **settings}).double()
    model = DecomposedDynamics(adapter, Table(adapter, 3), substeps=2).double()
    x0 = torch.rand(3, 2, 2, dtype=torch.float64)
    t = torch.arange(5, dtype=torch.float64) * 0.3
    raw, own = adapter.physics.free["omega0"], model.source.table()["physics"]

    def loss() -> torch.Tensor:
        return model.rollout(x0, t, model.source.table()).square().sum()

    grads = torch.autograd.grad(loss(), [raw, own])
    h = 1e-6
    with torch.no_grad():
        for target, index, grad in ((raw, (), grads[0]), *((own, (e, 0), grads[1][e, 0]) for e in range(3))):
            start = target[index].clone()
            ends = []
            for sign in (1, -1):
                target[index] = start + sign * h
                ends.append(float(loss()))
            target[index] = start
            assert float(grad) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_parameters_start_where_asked_and_stay_admissible() -> None:
    roles: dict[str, Any] = {"shared": {"beta": 0.7}, "own": {"alpha": 0.3}, "coded": {"gamma": 1.5}, "code": 3}
    physics = physics_of("lotka_volterra", fixed={"delta": 0.1}, **roles).double()
    context = {**physics.init_context(), "code": torch.zeros(3, dtype=torch.float64)}
    values = {k: float(v.detach()) for k, v in physics.physical(context).items()}
    assert values == pytest.approx({"alpha": 0.3, "beta": 0.7, "gamma": 1.5, "delta": 0.1}, rel=1e-6)
    assert values["delta"] == 0.1
    stacked = {"physics": torch.tensor([[-500.0], [0.0], [500.0]]).double(), "code": torch.eye(3).double()}
    values_at = physics.physical(stacked)
    assert values_at["alpha"].tolist() == pytest.approx([1e-5, 2.500005, 5.0])
    gamma = 1e-5 + (5 - 1e-5) * torch.sigmoid(physics.free["gamma"] + physics.weight[0])
    torch.testing.assert_close(values_at["gamma"], gamma)


class Bounded(System):
    """dx/dt = a x + b + c: one parameter bounded below, one above, one not at all."""

    channels = (Channel("x"),)
    parameters = (Parameter("a", low=1.0), Parameter("b", high=-2.0), Parameter("c"))

    def rhs(self, t: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        a, b, c = p.unbind(-1)
        return a.unsqueeze(-1) * x + (b + c).unsqueeze(-1)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> torch.Tensor:
        return torch.from_numpy(generator.uniform(size=(n, 1)))


def test_one_sided_ranges() -> None:
    physics = Physics(Bounded(), own={"a": 1.5, "b": -7.0, "c": -4.0}).double()
    start = physics.init_context()["physics"]
    values = physics.physical({"physics": torch.stack([start, start - 50, start + 50])})
    assert [round(float(v[0]), 6) for v in values.values()] == [1.5, -7.0, -4.0]
    assert bool((values["a"] >= 1).all() and (values["b"] <= -2).all())
    assert float(values["a"][2]) > 50
    assert float(values["c"][1]) == -54.0


def test_the_multiplier_grows_by_its_ratio_too() -> None:
    physics = physics_of("lotka_volterra", own=LOTKA)
    adapter = Hybrid(physics, Shared(mlp), size=1.0, start=2.0, growth=0.5, ratio=0.1)
    adapter.after_step(torch.tensor(4.0))
    adapter.after_step(torch.tensor(0.0))
    assert float(adapter.multiplier) == pytest.approx((2 * 1.1 + 2) * 1.1)
    with pytest.raises(SettingsError, match="ratio"):
        Hybrid(physics, Shared(mlp), ratio=-0.1)


def test_size_penalty_by_hand_and_its_multiplier() -> None:
    torch.manual_seed(1)
    x = torch.rand(3, 2, 4, 2, dtype=torch.float64)
    data = Trajectories(x, torch.arange(4, dtype=torch.float64))
    physics = {"family": "lotka_volterra", "fixed": LOTKA}
    for normalised in (False, True):
        adapter = hybrid(mlp, physics, size=2.0, normalised=normalised, start=4.0, growth=0.5).double()
        f = adapter.learned.backbone(torch.zeros(()), x.reshape(-1, 2))
        ratio = f.norm(dim=1) / (x.reshape(-1, 2).norm(dim=1) + 1e-5)
        expected = ratio.square().mean() if normalised else f.square().mean()
        torch.testing.assert_close(adapter.penalty({}, data), 2.0 / 4.0 * expected)
        adapter.after_step(torch.tensor(6.0, dtype=torch.float64))
        assert float(adapter.multiplier) == 7.0
        torch.testing.assert_close(adapter.adaptation_penalty({}, data).mean(), 2.0 / 7.0 * expected)


def test_missing_states_do_not_spoil_the_size() -> None:
    x = torch.rand(2, 1, 3, 2)
    x[0, 0, 1] = float("nan")
    data = Trajectories(x, torch.arange(3, dtype=torch.float64), mask=torch.isfinite(x))
    assert bool(torch.isfinite(hybrid(mlp, size=1.0).penalty({}, data)))


def test_bad_input() -> None:
    lotka: dict[str, Any] = {"family": "lotka_volterra"}
    with pytest.raises(SettingsError, match="none or several: gamma, delta"):
        hybrid(mlp, {**lotka, "shared": {"alpha": 0.5, "beta": 0.5}, "own": {"delta": 0.5}, "fixed": {"delta": 0.1}})
    with pytest.raises(UnknownNameError, match="'birth'"):
        hybrid(mlp, {**lotka, "terms": ["berth"]})
    with pytest.raises(UnknownNameError, match="reads no parameter 'beta'"):
        hybrid(mlp, {**lotka, "terms": ["birth"], "shared": {"alpha": 0.5, "beta": 0.5}})
    with pytest.raises(SettingsError, match="not divided into terms"):
        physics_of("van_der_pol", terms=["damping"])
    with pytest.raises(SettingsError, match="strictly inside"):
        hybrid(mlp, {**lotka, "own": {**LOTKA, "alpha": 5.0}})
    with pytest.raises(SettingsError, match="outside its admissible range"):
        hybrid(mlp, {**lotka, "fixed": {**LOTKA, "alpha": 6.0}})
    with pytest.raises(SettingsError, match="code"):
        hybrid(mlp, {**lotka, "coded": LOTKA})
    with pytest.raises(SettingsError, match="'shared'"):
        hybrid(mlp, {**lotka, "share": LOTKA})
    with pytest.raises(ShapeError, match="GrayScott"):
        hybrid(mlp, {"family": "gray_scott", "own": {"F": 0.03, "k": 0.06}})
    with pytest.raises(ShapeError, match="GrayScott"):
        hybrid(mlp, {"family": "gray_scott", "own": {"F": 0.03, "k": 0.06}}, adapter=None)
    with pytest.raises(SettingsError, match="both"):
        hybrid(mlp, None, None)
    with pytest.raises(SettingsError, match="serial"):
        hybrid(mlp, {**lotka, "own": LOTKA}, mode="serial", size=1.0)
    with pytest.raises(UnknownNameError, match="'additive'"):
        Hybrid(None, LowRank(mlp), mode="aditive")  # type: ignore[arg-type]

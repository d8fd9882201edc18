"""Physics inside models, and contexts with neighbours, as trained and adapted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import leads
from leads.algorithms import algorithms
from leads.backbones import backbones
from leads.cli.hydra import compose
from leads.dynamics import DecomposedDynamics
from leads.environments import Budget, EnvironmentFamily
from leads.testing import check_algorithm
from leads.training.settings import TrainerSettings
from leads.trajectories import DataSplits

STARTS = {"alpha": 0.8, "beta": 0.8, "gamma": 0.8, "delta": 0.8}
LOTKA: dict[str, Any] = {"family": "lotka_volterra"}
OSCILLATION = {"family": "pendulum", "arguments": {"split": "aphynity"}, "terms": ["oscillation"]}


@pytest.fixture(scope="module")
def swings() -> tuple[EnvironmentFamily, DataSplits]:
    """The published pendulum with friction on 6 of its 25 trajectories and 6 of its 20 seconds."""
    family = leads.make("pendulum", split="aphynity")
    family = replace(
        family, budget=Budget(train=6, test=4, valid=4), times=torch.arange(24, dtype=torch.float64) * 0.25
    )
    return family, leads.generate(family, cache=False)


def pendulum(data: DataSplits, network: bool) -> tuple[float, float, DecomposedDynamics]:
    physics = {**OSCILLATION, "shared": {"omega0": 0.45}}
    model = leads.build(
        "aphynity", data.train, backbone_settings={"width": 16, "depth": 2},
        physics=physics, network=network, normalised=True, multiplier=0.1, growth=0.2, method="midpoint",
    )  # fmt: skip
    result = leads.fit(model, data.train, data.valid, steps=200, lr=3e-2, horizons=(8,), validate_every=50)
    assert result.best_valid is not None
    return float(model.adapter.physical({})["omega0"].detach()), result.best_valid, model  # type: ignore[operator]


def test_a_network_beside_incomplete_physics_frees_its_parameter(
    swings: tuple[EnvironmentFamily, DataSplits],
) -> None:
    family, data = swings
    truth = float(family.seen[0, 1])
    alone, misfit, _ = pendulum(data, network=False)
    beside, fit, model = pendulum(data, network=True)
    assert abs(beside / truth - 1) < 0.01 < abs(alone / truth - 1)
    assert fit < misfit / 10
    assert float(model.adapter.multiplier) > 0.2  # type: ignore[arg-type]


def test_the_multiplier_grows_by_the_loss_and_survives_a_kill(
    swings: tuple[EnvironmentFamily, DataSplits], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data = swings
    physics = {**OSCILLATION, "shared": {"omega0": 0.45}}
    build = lambda: leads.build("aphynity", data.train, backbone_settings={"width": 4}, physics=physics, growth=0.5)
    settings = TrainerSettings(steps=12, validate_every=1, checkpoint_every=4, horizons=(2,), average=0.5)
    straight = build()
    rows = leads.fit(straight, data.train, settings=settings, run_dir=tmp_path / "a").history
    assert float(straight.adapter.multiplier) == pytest.approx(1 + 0.5 * sum(r["loss"] for r in rows), rel=1e-5)

    killed = build()
    original = type(killed.adapter).after_step
    steps = iter(range(100))

    def kill(self: Any, loss: torch.Tensor) -> None:
        if next(steps) == 7:
            shutil.copytree(tmp_path / "b", tmp_path / "c")
            raise KeyboardInterrupt
        original(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(type(killed.adapter), "after_step", kill)
        with pytest.raises(KeyboardInterrupt):
            leads.fit(killed, data.train, settings=settings, run_dir=tmp_path / "b")
    resumed = build()
    rest = leads.fit(resumed, data.train, settings=settings, run_dir=tmp_path / "c")
    assert [r["loss"] for r in rest.history] == [r["loss"] for r in rows]
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in straight.state_dict().items())
    again = leads.load_model(tmp_path / "c" / "model.safetensors")
    assert torch.equal(again.adapter.multiplier, straight.adapter.multiplier)  # type: ignore[arg-type]
    assert torch.equal(
        again.adapter.physical({})["omega0"],  # type: ignore[operator]
        straight.adapter.physical({})["omega0"],  # type: ignore[operator]
    )


def test_adaptation_finds_the_parameters_of_complete_physics(data: DataSplits, tmp_path: Path) -> None:
    truth = data.adapt.parameters
    assert truth is not None
    model = leads.build("aphynity", data.train, physics={**LOTKA, "own": STARTS}, network=False, substeps=5)
    adapted = leads.adapt(model, data.adapt)
    assert adapted.info["solver"] == "levenberg_marquardt"
    found = torch.stack(list(model.adapter.physical(adapted.contexts).values()), 1)  # type: ignore[operator]
    assert float((found.detach() - truth).abs().max()) < 1e-4
    adapted.save(tmp_path / "adapted.safetensors")
    again = type(adapted).load(tmp_path / "adapted.safetensors")
    assert torch.equal(again.forecast(data.adapt.initial, data.adapt.times), adapted.forecast(data.adapt.initial, data.adapt.times))  # fmt: skip


def test_the_size_is_what_keeps_the_network_small(swings: tuple[EnvironmentFamily, DataSplits]) -> None:
    _, data = swings
    sizes = []
    for size in (0.0, 10.0):
        physics = {**OSCILLATION, "shared": {"omega0": 1.0}}
        model = leads.build("aphynity", data.train, backbone_settings={"width": 8}, physics=physics, size=size)
        leads.fit(model, data.train, steps=60, lr=1e-2, horizons=(1,))
        with torch.no_grad():
            sizes.append(float(model.adapter.learned_size({}, data.train)))  # type: ignore[operator]
    assert sizes[1] < 0.3 * sizes[0]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("aphynity", {"physics": {**LOTKA, "terms": ["birth", "death"], "shared": {"alpha": 0.5, "gamma": 0.5}}}),
        ("aphynity", {"physics": {**LOTKA, "fixed": STARTS}}),
        ("aphynity", {"physics": {**LOTKA, "shared": STARTS}, "network": False}),
        ("aphynity", {"physics": {**LOTKA, "own": STARTS}, "mode": "residual"}),
        *(("geps_physics", {"physics": {**LOTKA, "coded": STARTS}, "mode": m}) for m in ("additive", "serial", "residual")),
        ("ncf", {"order": 1, "dim": 4, "pool": "nearest", "pool_size": 3, "alternate": 0}),
        ("ncf", {"dim": 4, "pool": "smallest", "pool_size": 3}),
    ],
)  # fmt: skip
def test_contracts(name: str, settings: dict[str, Any], data: DataSplits) -> None:
    make = lambda: backbones["mlp"]((2,), width=4)
    # An untrained network beside growing populations does not stay finite for twenty frames.
    train, support = (replace(d, states=d.states[:, :, :5], times=d.times[:5]) for d in (data.train, data.adapt))
    check_algorithm(lambda m, e: algorithms[name](m, e, **settings), make, train, support)


def test_coded_parameters_follow_the_code(data: DataSplits) -> None:
    model = leads.build("geps_physics", data.train, physics={**LOTKA, "coded": STARTS}, dim=3)
    code = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    start = model.adapter.physical({"code": torch.zeros(9, 3)})["beta"]  # type: ignore[operator]
    assert start.tolist() == pytest.approx([0.8] * 9)
    p = model.adapter.physics
    free = p.free["beta"] + code @ p.weight[1]  # type: ignore[index, union-attr, operator]
    values = model.adapter.physical({"code": code})["beta"]  # type: ignore[operator]
    torch.testing.assert_close(values, 1e-5 + (5 - 1e-5) * torch.sigmoid(free))


def test_weights_and_contexts_take_turns(data: DataSplits) -> None:
    history = []

    class Spy:
        def record(self, row: dict[str, Any]) -> None:
            history.append({k: v.detach().clone() for k, v in model.named_parameters()})

        def close(self, summary: dict[str, Any]) -> None: ...

    model = leads.build("ncf", data.train, dim=4, width=4, alternate=2)
    history.append({k: v.detach().clone() for k, v in model.named_parameters()})
    leads.fit(model, data.train, steps=6, validate_every=1, horizons=(1,), loggers=[Spy()])
    for step in range(6):
        before, after = history[step], history[step + 1]
        moved = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
        assert moved == ({"adapter"} if step in (0, 1, 4, 5) else {"source"})


def test_neighbours_survive_a_kill(data: DataSplits, tmp_path: Path) -> None:
    build = lambda: leads.build("ncf", data.train, dim=4, width=4)
    straight, settings = build(), TrainerSettings(steps=6, validate_every=1, checkpoint_every=2, horizons=(1,))
    rows = leads.fit(straight, data.train, settings=settings, run_dir=tmp_path / "a").history
    killed = build()
    copied = []

    class Killer:
        def record(self, row: dict[str, Any]) -> None:
            if row["step"] == 3 and not copied:
                copied.append(shutil.copytree(tmp_path / "b", tmp_path / "c"))
                raise KeyboardInterrupt

        def close(self, summary: dict[str, Any]) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        leads.fit(killed, data.train, settings=settings, run_dir=tmp_path / "b", loggers=[Killer()])
    resumed = build()
    rest = leads.fit(resumed, data.train, settings=settings, run_dir=tmp_path / "c")
    assert [r["loss"] for r in rest.history] == [r["loss"] for r in rows]
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in straight.state_dict().items())


@pytest.mark.parametrize(
    "name",
    ["lotka_volterra_ncf", "lotka_volterra_aphynity", "lotka_volterra_geps_physics", "pendulum_aphynity",
     "reaction_diffusion_aphynity", "wave_aphynity"],
)  # fmt: skip
def test_experiments_compose_and_build(name: str) -> None:
    experiment = compose([f"experiment={name}"])
    assert f"{experiment.family.name}_{experiment.method.name}" == name
    family = leads.make(experiment.family.name, **experiment.family.settings)
    model = leads.build(
        experiment.method.name, family, experiment.backbone.name, experiment.backbone.settings, **experiment.method.settings
    )  # fmt: skip
    contexts = {k: v[:1] for k, v in model.source.table().items()}  # type: ignore[operator]
    x0 = family.system.sample_x0(1, np.random.RandomState(0))[None].float()
    assert bool(torch.isfinite(model.rollout(x0, family.times[:2], contexts)).all())

"""Gradient-based methods and learned codes: they learn, they adapt, and a run with them reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import leads
from leads.dynamics import DecomposedDynamics
from leads.environments import Budget, EnvironmentFamily
from leads.trajectories import DataSplits

SETTINGS = {
    "maml": {"inner_lr": 0.01},
    "anil": {"inner_lr": 0.01},
    "meta_sgd": {"inner_lr": 0.01},
    "cavia_concat": {"steps": 2},
    "cavia_film": {"steps": 2},
    "learned_codes": {},
    "film_codes": {},
    "fine_tuning": {},
}
LOOPS = [name for name in SETTINGS if name not in ("learned_codes", "film_codes", "fine_tuning")]


@pytest.fixture(scope="module")
def tiny(lotka: EnvironmentFamily) -> DataSplits:
    """Short, so that whole trajectories are cheap: the inner loop is judged on the loss that it was trained for."""
    small = replace(lotka, times=lotka.times[:6], budget=Budget(train=3, test=2, valid=2, adapt=1, adapt_test=2))
    return leads.generate(small)


@pytest.fixture(scope="module")
def models(tiny: DataSplits) -> dict[str, tuple[DecomposedDynamics, float]]:
    """Each briefly trained, with its test loss before; tests must not change them."""
    made = {}
    for name, settings in SETTINGS.items():
        model = leads.build(name, tiny.train, backbone_settings={"width": 16, "depth": 2}, **settings)
        before = seen_loss(model, tiny)
        support = 1 if name in LOOPS else 0
        leads.fit(model, tiny.train, steps=150, horizons=(1, 0), lr=1e-2, support=support)
        made[name] = model, before
    return made


def seen_loss(model: DecomposedDynamics, data: DataSplits) -> float:
    with torch.no_grad():
        return float(model.loss_per_environment(data.test, leads.trained(model, data=data.train).contexts).mean())


@pytest.mark.parametrize("name", SETTINGS)
def test_learns(models: dict[str, tuple[DecomposedDynamics, float]], tiny: DataSplits, name: str) -> None:
    model, before = models[name]
    after = seen_loss(model, tiny)
    assert after < 0.25 * before
    if name != "fine_tuning":  # which is one model for all environments here
        assert after < 0.95 * seen_loss(models["fine_tuning"][0], tiny)


@pytest.mark.parametrize("name", LOOPS)
def test_the_inner_loop_helps_in_new_environments(
    models: dict[str, tuple[DecomposedDynamics, float]], tiny: DataSplits, name: str
) -> None:
    model, support = models[name][0], tiny.adapt
    shared = {k: v.clone() for k, v in model.state_dict().items()}
    adapted = leads.adapt(model, support)
    assert adapted.info["solver"] == "none"
    start = {k: torch.zeros_like(v) for k, v in adapted.contexts.items()}
    with torch.no_grad():
        unadapted = float(model.loss_per_environment(support, start).mean())
    found = sum(adapted.info["loss"]) / 4
    assert found < unadapted
    further = leads.adapt(model, support, solver="gradient", steps=40, lr=1e-2)
    assert sum(further.info["loss"]) / 4 < found
    assert all(torch.equal(v, shared[k]) for k, v in model.state_dict().items())


def test_fine_tuning_goes_on_from_the_shared_model(
    models: dict[str, tuple[DecomposedDynamics, float]], tiny: DataSplits, tmp_path: Path
) -> None:
    model, support = models["fine_tuning"][0], tiny.adapt
    still = leads.adapt(model, support, solver="none")
    assert all(float(v.abs().max()) == 0 for v in still.contexts.values())
    tuned = leads.adapt(model, support, steps=60)
    assert tuned.info["solver"] == "gradient"
    assert sum(tuned.info["loss"]) < 0.7 * sum(still.info["loss"])
    tuned.save(tmp_path / "tuned.safetensors")
    again = leads.Adapted.load(tmp_path / "tuned.safetensors")
    x0, t = support.initial, support.times
    assert torch.equal(again.forecast(x0, t), tuned.forecast(x0, t))


def test_a_whole_run_reports(tmp_path: Path) -> None:
    from leads.evaluation.report import write_report
    from leads.experiment import Run, run_fit
    from leads.experiment.settings import Experiment, Named, TrainerSchema

    experiment = Experiment(
        family=Named("lotka_volterra"), method=Named("maml"), backbone=Named("mlp", {"width": 8}),
        trainer=TrainerSchema(steps=4, validate_every=2, support=1), progress=False, run_dir=str(tmp_path / "run"),
    )  # fmt: skip
    run = Run(run_fit(experiment))
    assert run.evaluation()["in-domain"].scores["all"]["mse"] > 0
    page = write_report([run.report("run", [])], tmp_path / "report.html", adaptation=0)
    assert Path(page).stat().st_size > 50_000

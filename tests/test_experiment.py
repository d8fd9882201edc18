"""Experiments: every ready configuration composes with the published values, and runs are described and refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from leads.adaptation import AdaptSettings
from leads.cli.hydra import compose
from leads.errors import SettingsError, UnknownNameError
from leads.experiment import AdaptSchema, Run, TrainerSchema, from_dict, group_seeds, run_adapt, run_fit
from leads.training import TrainerSettings
from leads.trajectories import save

NAMES = [
    f"{f}_{m}"
    for f in ("lotka_volterra", "gray_scott")
    for m in ("erm", "one_per_environment", "leads", "coda", "geps")
]
QUICK = ["trainer.steps=6", "trainer.validate_every=3", "backbone.settings.width=8", "progress=false"]


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_composes(name: str) -> None:
    experiment = compose([f"experiment={name}"])
    assert f"{experiment.family.name}_{experiment.method.name}" == name
    assert experiment.backbone.name == ("mlp" if name.startswith("lotka") else "conv")
    assert experiment.trainer.validate_every < experiment.trainer.steps


def test_published_coefficients() -> None:
    """LEADS' public code: 1/lambda is 1/5e3 for Lotka-Volterra and 1/1e3 for Gray-Scott, alpha 1e-2."""
    lotka = compose(["experiment=lotka_volterra_leads"]).method.settings
    gray = compose(["experiment=gray_scott_leads"]).method.settings
    assert lotka == {"weight": pytest.approx(1 / 5e3), "alpha": pytest.approx(1e-2)}
    assert gray == {"weight": pytest.approx(1 / 1e3), "alpha": pytest.approx(1e-2)}


def test_schemas_follow_the_settings() -> None:
    """Same names and defaults; the run's one seed stands for the trainer's."""
    for schema, settings, without in ((TrainerSchema, TrainerSettings, {"seed"}), (AdaptSchema, AdaptSettings, set())):
        made, default = schema(), settings()
        assert {f.name for f in fields(schema)} == {f.name for f in fields(settings)} - without
        for f in fields(schema):
            value = getattr(default, f.name)
            assert getattr(made, f.name) == (list(value) if isinstance(value, tuple) else value)


def test_unknown_keys_and_wrong_types_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'seed'"):
        from_dict({"sed": 1})
    with pytest.raises(UnknownNameError, match="Did you mean 'steps'"):
        from_dict({"trainer": {"step": 1}})
    with pytest.raises(SettingsError, match=r"trainer\.steps"):
        from_dict({"trainer": {"steps": "many"}})
    with pytest.raises(SettingsError, match="needs named settings"):
        from_dict({"trainer": 3})


def test_settings_reach_the_run_and_come_back(tmp_path: Path) -> None:
    """Precision and trainer settings are used, written and read again; a finished run is evaluated the same twice."""
    rule = "trainer.scheduled_sampling={start:0.5,every:2}"
    given = [*QUICK, rule, "precision=64", "seed=3", f"run_dir={tmp_path / 'a'}"]
    experiment = compose(given)
    folder = run_fit(experiment)
    run = Run(folder)
    assert run.experiment == experiment
    assert run.data.train.states.dtype == torch.float64
    assert run.placed(run.seen()).contexts["code"].dtype == torch.float64
    assert run.json("history.json")[-1]["step"] == 6
    first = (folder / "evaluation.json").read_text()
    assert run_fit(experiment) == folder
    assert (folder / "evaluation.json").read_text() == first
    path = save(run.data.adapt, tmp_path / "adapt.nc")
    adapted = run_adapt(folder, path)
    assert torch.allclose(adapted.contexts["code"], run.adapted().contexts["code"].double(), rtol=1e-6)


def test_seeds_of_one_experiment_are_grouped(tmp_path: Path) -> None:
    def fit(name: str, *more: str) -> str:
        return str(run_fit(compose(["method=erm", *QUICK, f"run_dir={tmp_path / name}", *more])))

    folders = [fit("a", "seed=0"), fit("b", "seed=1"), fit("c", "trainer.lr=1e-3")]
    assert [[r.folder.name for r in group] for group in group_seeds(folders)] == [["a", "b"], ["c"]]

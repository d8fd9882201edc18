"""The studies of benchmarks/studies: what they list can be built, and one runs from the search to its rows."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import leads
from leads.training import TrainerSettings

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks" / "studies"
#: hybrids.yaml has a runner of its own.
STUDIES = sorted(p.stem for p in FOLDER.glob("*.yaml") if p.stem != "hybrids")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"studies_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[f"studies_{name}"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return script("run")


@pytest.mark.parametrize("name", STUDIES)
def test_every_candidate_can_be_built(run: ModuleType, name: str) -> None:
    for size in ("small", "full"):
        study = run.read(name, size)
        arguments = {k: v for k, v in study.family.items() if k != "name"}
        family = leads.make(study.family["name"], **arguments)
        for method, plan in study.methods.items():
            for candidate in plan.get("candidates") or [{}]:
                settings = run.settings_of(study, method, candidate)
                given = TrainerSettings(**settings["trainer"])
                assert given.support < family.budget.train, (method, "leaves no trajectory for the query")
                if size == "small":
                    run.build(study, method, settings, 0, family)


def test_a_study_searches_trains_and_scores(run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ROOT", tmp_path)
    study = run.read("lotka_volterra", "small")
    study = dataclasses.replace(
        study,
        trainer=study.trainer | {"steps": 3, "validate_every": 3},
        search=study.search | {"steps": 2},
        methods={"erm": {}, "coda": study.methods["coda"]},
    )
    family = leads.make("lotka_volterra", split="coda")
    data = leads.generate(family, fidelity="published")
    assert run.choose(study, "erm", data)["model"] == {}
    settings = run.choose(study, "coda", data)
    assert settings["model"] in [c["model"] for c in study.methods["coda"]["candidates"]]
    rows = run.run(study, "coda", 0, settings, family, data)
    assert [r["protocol"] for r in rows] == ["in-domain"] * 9 + ["adaptation"] * 4
    assert set(rows[0]) == set(run.COLUMNS)
    assert run.run(study, "coda", 0, settings, family, data) == rows


@pytest.mark.parametrize("name", ["pendulum", "reaction_diffusion", "wave"])
def test_every_row_of_the_hybrids_can_be_built(name: str) -> None:
    hybrids = script("hybrids")
    plan = yaml.safe_load((FOLDER / "hybrids.yaml").read_text())[name]
    family = leads.make(plan["family"]["name"], split=plan["family"]["split"])
    network = plan["backbone"]
    TrainerSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in plan["trainer"].items()})
    rows = hybrids.rows_of(plan)
    assert next(iter(rows)) == "network alone"
    assert "incomplete + network" in rows
    for row, settings in rows.items():
        model = leads.build(
            "aphynity", family, network["name"], network["settings"], **plan["model"], **plan["rollout"], **settings
        )
        values = model.adapter.physical(leads.trained(model).contexts)
        named = set(values) & set(plan["truth"])
        assert bool(named) == (row != "network alone"), row


def test_a_hybrid_runs_from_training_to_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hybrids = script("hybrids")
    monkeypatch.setattr(hybrids, "ROOT", tmp_path)
    plan = yaml.safe_load((FOLDER / "hybrids.yaml").read_text())["pendulum"]
    plan["trainer"] |= {"steps": 10, "validate_every": 5, "polish": 0}
    plan["rollout"]["substeps"] = 1
    found = hybrids.run("pendulum", plan, "incomplete + network", 0)
    assert found["errors_percent"].keys() == found["least_norm_errors_percent"].keys() == {"omega0"}
    assert found["least_norm_size"] <= found["learned_size"] * (1 + 1e-6)
    assert hybrids.run("pendulum", plan, "incomplete + network", 0) == found

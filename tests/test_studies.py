"""The studies of benchmarks/studies: what they list can be built, and one runs from the search to its rows."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import leads
from leads.training import TrainerSettings

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks" / "studies"
STUDIES = sorted(p.stem for p in FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("studies_run", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["studies_run"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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

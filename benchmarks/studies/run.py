"""Every method on one system at equal budgets: search, train, adapt, evaluate, over several seeds.

    OMP_NUM_THREADS=1 python benchmarks/studies/run.py lotka_volterra [--methods coda geps] [--seeds 0 1 2] [--size small]

A study is described by STUDY.yaml beside this file: data, network, budget, and for each method the settings to choose
from. The choice is made without the unseen environments: a model is trained without some of the seen ones for a short
while, adapted to each of these from one training trajectory, and scored on their validation trajectories; the best
candidate is trained on all seen environments, its weights chosen on validation trajectories. Test sets are read once, at
the end. Finished parts are skipped (delete runs/studies/STUDY to begin anew), killed ones resume.

Writes benchmarks/results/studies/STUDY_SIZE.csv: one row a method, seed, protocol and environment.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

import leads
from leads.adaptation import AdaptSettings
from leads.dynamics import DecomposedDynamics
from leads.errors import LeadsError
from leads.evaluation.held_out import environment_folds, score_held_out
from leads.experiment import provenance
from leads.trajectories.cache import write_whole

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: Seed of the search; none of those of the study.
SEARCH_SEED = 100
COLUMNS = (
    "family", "split", "fidelity", "size", "method", "seed", "protocol", "environment", "mse", "relative_l2", "steps",
    "training_seconds", "adaptation_seconds", "best_step", "settings", "leads", "commit", "device", "date",
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """One system's study at one size."""

    name: str
    size: str
    family: dict[str, Any]
    fidelity: str
    backbone: dict[str, Any]
    rollout: dict[str, Any]
    trainer: dict[str, Any]
    search: dict[str, Any]
    methods: dict[str, dict[str, Any]]

    @property
    def folder(self) -> Path:
        return ROOT / "runs" / "studies" / self.name / self.size


def read(name: str, size: str) -> Study:
    """The study NAME.yaml at ``size`` (one of its keys under ``sizes``)."""
    path = HERE / f"{name}.yaml"
    if not path.exists():
        raise SystemExit(f"No study {name!r}; there are {', '.join(sorted(p.stem for p in HERE.glob('*.yaml')))}.")
    plan = yaml.safe_load(path.read_text())
    if size not in plan["sizes"]:
        raise SystemExit(f"The study {name} has no size {size!r}; it has {', '.join(plan['sizes'])}.")
    scale = plan.pop("sizes")[size]
    backbone = plan["backbone"] | {"settings": plan["backbone"].get("settings", {}) | scale.get("backbone", {})}
    rest = {k: plan[k] for k in ("family", "fidelity", "methods")}
    return Study(
        name, size, backbone=backbone, rollout=scale["rollout"], trainer=scale["trainer"], search=scale["search"],
        **rest,
    )  # fmt: skip


def settings_of(study: Study, method: str, candidate: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Groups ``model``, ``trainer`` and ``adapt`` of a candidate, over the method's and the study's own."""
    common = study.methods[method].get("always", {})
    return {
        group: (study.trainer if group == "trainer" else {}) | common.get(group, {}) | candidate.get(group, {})
        for group in ("model", "trainer", "adapt")
    }


def candidates_of(study: Study, method: str) -> list[dict[str, Any]]:
    """The method's candidates, each with every learning rate of the study's search (``search: {lr: [...]}``)."""
    candidates = study.methods[method].get("candidates") or [{}]
    rates = [{"lr": lr} for lr in study.search.get("lr", [])] or [{}]
    return [c | {"trainer": rate | c.get("trainer", {})} for c in candidates for rate in rates]


def training_data(study: Study, method: str, data: Any) -> leads.Trajectories:
    """The training set as the method sees it: without labels where its entry says ``labels: hidden``."""
    hidden = study.methods[method].get("labels") == "hidden"
    return data.train.unlabelled() if hidden else data.train


def build(study: Study, method: str, settings: dict[str, Any], seed: int, data: Any) -> DecomposedDynamics:
    return leads.build(
        study.methods[method].get("algorithm", method),
        data,
        study.backbone["name"],
        study.backbone["settings"],
        seed=seed,
        **study.rollout,
        **settings["model"],
    )


def choose(study: Study, method: str, data: Any) -> dict[str, dict[str, Any]]:
    """The candidate with the smallest mean over folds of the log of the error in held-out seen environments."""
    candidates = candidates_of(study, method)
    # Folds of environments are folds of labels, which such a method does not have: it takes its first candidate.
    if len(candidates) == 1 or study.methods[method].get("labels") == "hidden":
        return settings_of(study, method, candidates[0])
    folds = environment_folds(data.train.n_environments, study.search["folds"])[: study.search["use_folds"]]
    scores = []
    for number, candidate in enumerate(candidates):
        settings = settings_of(study, method, candidate)
        trainer = settings["trainer"] | {"steps": study.search["steps"]}
        errors = []
        for i, fold in enumerate(folds):
            path = study.folder / method / "search" / f"{number}_fold{i}.json"
            if not path.exists():
                began = time.perf_counter()
                make = partial(build, study, method, settings, SEARCH_SEED)
                adaptation = AdaptSettings(**settings["adapt"])
                try:
                    held_out = score_held_out(
                        make, data.train, data.valid, fold, adaptation=adaptation, seed=SEARCH_SEED, **trainer
                    )
                    error = held_out.scores["all"]["mse"]
                except LeadsError as reason:
                    print(f"{method} {candidate}: {reason}", flush=True)
                    error = math.inf
                found = {"candidate": candidate, "mse": error, "seconds": time.perf_counter() - began}
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, json.dumps(found).encode())
            errors.append(json.loads(path.read_text())["mse"])
        scores.append(sum(math.log(e) if e > 0 else -math.inf for e in errors) / len(errors))
        print(f"search {method:20s} {candidate}: {math.exp(scores[-1]):.2e}", flush=True)
    return settings_of(study, method, candidates[min(range(len(scores)), key=scores.__getitem__)])


def run(study: Study, method: str, seed: int, settings: dict[str, Any], family: Any, data: Any) -> list[dict[str, Any]]:
    """Rows of one trained model."""
    folder = study.folder / method / f"seed{seed}"
    done = folder / "rows.json"
    if done.exists():
        return json.loads(done.read_text())
    seen = training_data(study, method, data)
    model = build(study, method, settings, seed, seen)
    fitted = leads.fit(model, seen, data.valid, run_dir=folder, seed=seed, **settings["trainer"])
    began = time.perf_counter()
    adapted = leads.adapt(model, data.adapt, **settings["adapt"])
    adaptation = time.perf_counter() - began
    origin = provenance(command="")
    horizon = float(family.times[-1])
    common = {
        "family": study.family["name"], "split": study.family.get("split", ""), "fidelity": study.fidelity,
        "size": study.size, "method": method, "seed": seed, "steps": settings["trainer"]["steps"],
        "training_seconds": round(fitted.seconds, 1), "adaptation_seconds": round(adaptation, 3),
        "best_step": fitted.best_step, "settings": json.dumps(settings, sort_keys=True),
        **{k: origin[k] for k in ("leads", "commit", "device", "date")},
    }  # fmt: skip
    rows = []
    places = (("in-domain", leads.trained(model, data=data.train), data.test), ("adaptation", adapted, data.adapt_test))
    for protocol, which, test in places:
        found = leads.evaluate(which, test, horizon).per_environment["all"]
        for e, (mse, relative) in enumerate(zip(found["mse"], found["relative_l2"], strict=True)):
            rows.append(common | {"protocol": protocol, "environment": e, "mse": mse, "relative_l2": relative})
    write_whole(done, json.dumps(rows).encode())
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--size", default="small")
    parser.add_argument("--methods", nargs="+", help="all of the study's by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--collect", action="store_true", help="only write the CSV of what is finished")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = read(args.study, args.size)
    if not args.collect:
        family = leads.make(study.family["name"], **{k: v for k, v in study.family.items() if k != "name"})
        data = leads.generate(family, seed=0, fidelity=study.fidelity)
        methods = args.methods or list(study.methods)
        chosen = {method: choose(study, method, data) for method in methods}
        # Seed by seed: a study that is cut short has all its methods.
        for seed in args.seeds:
            for method in methods:
                try:
                    rows = run(study, method, seed, chosen[method], family, data)
                except LeadsError as reason:
                    print(f"{method} seed {seed}: {reason}", flush=True)
                    continue
                error = {p: [r["mse"] for r in rows if r["protocol"] == p] for p in ("in-domain", "adaptation")}
                text = " / ".join(f"{sum(v) / len(v):.2e}" for v in error.values())
                print(f"{method:20s} seed {seed}: {text} ({rows[0]['training_seconds']:.0f} s)", flush=True)
    out = ROOT / "benchmarks" / "results" / "studies" / f"{study.name}_{study.size}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for path in sorted(study.folder.glob("*/seed*/rows.json")):
            writer.writerows(json.loads(path.read_text()))
    print(out)


if __name__ == "__main__":
    main()

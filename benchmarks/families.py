"""Simulate every family's benchmark set, time it, and write the cards of docs/families.

    OMP_NUM_THREADS=1 python benchmarks/families.py [NAME ...]

For each family: all data sets of its default split, without the cache (spin-up included), timed once; a picture; the
card. Writes docs/families/, leads/environments/costs.json (which `leads list NAME` shows) and the table of all families.
Ratios against other solvers come from benchmarks/results/simulation.json.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import leads
from leads.environments import Budget, EnvironmentFamily
from leads.environments.card import _costs, card
from leads.evaluation import Table
from leads.evaluation.gallery import portrait, poster

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "families"
COSTS = ROOT / "leads" / "environments" / "costs.json"


def cost(family: EnvironmentFamily) -> tuple[leads.Trajectories, dict[str, Any]]:
    """The training set, and what all sets took."""
    began = time.perf_counter()
    data = leads.generate(family, cache=False)
    seconds = time.perf_counter() - began
    count = sum(d.n_environments * d.n_trajectories for d in data)
    found = {"split": family.split, "trajectories": count, "seconds": seconds}
    return data.train, found | {"date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")}


def ratios() -> dict[str, dict[str, Any]]:
    """For each family our fastest way against theirs, with its name."""
    path = ROOT / "benchmarks" / "results" / "simulation.json"
    best: dict[str, dict[str, Any]] = {}
    for row in json.loads(path.read_text())["rows"] if path.exists() else []:
        if row["ratio"] > best.get(row["family"], {"ratio": 0})["ratio"]:
            against = row["scipy"] if " " in row["scipy"] else f"SciPy's {row['scipy']}"
            best[row["family"]] = {"ratio": row["ratio"], "against": against, "case": row["case"]}
    return best


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    costs = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    known = ratios()
    shown: dict[str, leads.Trajectories] = {}
    for name in names or leads.list_families():
        family = leads.make(name)
        if not family.budget.train:
            family = replace(family, budget=Budget(train=1, test=0))
        train, found = cost(family)
        costs[name] = found | known.get(name, {})
        print(f"{name:26s} {found['trajectories']:6d} trajectories in {found['seconds']:8.2f} s", flush=True)
        COSTS.write_text(json.dumps(dict(sorted(costs.items())), indent=1))
        figure = portrait(train)
        figure.savefig(OUT / f"{name}.png", dpi=70)
        shown[name] = train
    if not names:
        poster(shown).savefig(OUT.parent / "families.png", dpi=80)
    _costs.cache_clear()
    rows = []
    for name in leads.list_families():
        page = card(name)
        (OUT / f"{name}.md").write_text(page.markdown(f"{name}.png"))
        names_of = ", ".join(f.split for f in page.variants)
        spent = f"{page.cost['seconds']:.2g} s" if page.cost else ""
        shape = " x ".join(map(str, page.variants[0].system.state_shape))
        rows.append([f"[{name}]({name}.md)", page.title, shape, names_of, spent])
    columns = ["family", "what it is", "state", "splits", "benchmark set, one core"]
    (OUT / "README.md").write_text("# Families\n\n" + Table(columns, rows).markdown() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

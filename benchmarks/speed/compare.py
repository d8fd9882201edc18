"""A run of the speed suite beside the stored one: what became slower or quicker, on this machine as it is now.

    python benchmarks/speed/compare.py runs/bench/speed.json [--stored benchmarks/results/speed.json]

A report, not a test: nothing fails on a noisy machine. Ratios to the naive step of the SAME run come first, because they
hardly depend on the machine; milliseconds are compared as they are and corrected by the ceilings of the two runs (the one
that limits the step). A row is marked where its ratio to the naive step has fallen by more than a fifth.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from leads.evaluation import Table

STORED = Path(__file__).resolve().parent.parent / "results" / "speed.json"
FALLEN = 0.8


def corrected(new: dict[str, Any], old: dict[str, Any], row: dict[str, Any]) -> float:
    """How much faster this machine is now at what limits ``row``."""
    launch = row["limits_ms"]["launch"] >= row["limits_ms"]["arithmetic"]
    a, b = new["ceilings"], old["ceilings"]
    return b["launch"] / a["launch"] if launch else a["product"] / b["product"]


def table(new: dict[str, Any], old: dict[str, Any]) -> Table:
    before = {(r["family"], r["phase"]): r for r in old["rows"]}
    rows = []
    for r in new["rows"]:
        key = (r["family"], r["phase"])
        share = f"{100 * r['achieved']:.0f} %"
        if key not in before:
            rows.append([r["name"], r["phase"], f"{r['ms']:.1f}", "", "", f"{r['ratio']:.1f}x", "", share, "new"])
            continue
        b = before[key]
        quicker = b["ms"] / r["ms"]
        fallen = r["ratio"] < FALLEN * b["ratio"]
        rows.append(
            [
                r["name"], r["phase"], f"{r['ms']:.1f}", f"{quicker:.2f}x", f"{quicker / corrected(new, old, r):.2f}x",
                f"{r['ratio']:.1f}x", f"{b['ratio']:.1f}x", share, "slower" if fallen else "",
            ]
        )  # fmt: skip
    heads = [
        "step",
        "phase",
        "ms",
        "as quick as stored",
        "on a machine as fast",
        "naive / ours",
        "stored",
        "of the limit",
        "",
    ]
    return Table(heads, rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--stored", type=Path, default=STORED)
    args = parser.parse_args(arguments)
    if not args.stored.exists():
        raise SystemExit(f"There is no stored run at {args.stored}; make one with benchmarks/speed/run.py.")
    new, old = (json.loads(p.read_text()) for p in (args.run, args.stored))
    for name, run in (("this run", new), ("stored", old)):
        origin = run["provenance"]
        print(
            f"{name}: leads {origin['leads']} at {origin['commit'][:8]}, torch {origin['torch']}, {origin['device']}, {origin['date']}"
        )
    if new["provenance"]["device"] != old["provenance"]["device"]:
        print("The two ran on different kinds of machine: only ratios to the naive step can be compared.")
    print(table(new, old).markdown())


if __name__ == "__main__":
    main(sys.argv[1:])

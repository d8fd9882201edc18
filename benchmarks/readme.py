"""Put the measured results and the picture into the README.

    python benchmarks/readme.py

Reads benchmarks/results/*.json and, where present, runs/lotka_volterra_coda_exact/seed0 for the picture.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import leads
from leads.evaluation import Table, figures

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TITLES = {
    "lotka_volterra_coda_exact": "Lotka-Volterra, CoDA, exact data",
    "lotka_volterra_coda_published_chosen": "Lotka-Volterra, CoDA, published-fidelity data, 8,000 steps (chosen on held-out seen environments)",
    "lotka_volterra_coda_published": "the same with 24,000 steps (preferred by validation in the environments it trains on)",
    "gray_scott_coda_exact": "Gray-Scott, CoDA, exact data",
}
PUBLISHED = {"lotka": "1.35e-05 / 1.24e-05", "gray_": "9.0e-04 / 7.4e-04"}


def errors() -> str:
    rows = []
    for name, title in TITLES.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        cells = []
        for protocol in ("in_domain", "adaptation"):
            s = result["summary"][protocol]["all"]["mse"]
            cells.append(f"{s['mean']:.2e}" + (f" ± {s['std']:.1e}" if s["seeds"] > 1 else ""))
        seconds = sum(r["seconds"] for r in result["seeds"]) / len(result["seeds"])
        seeds = ", ".join(str(r["seed"]) for r in result["seeds"])
        date = result["provenance"]["date"][:10]
        rows.append([title, *cells, PUBLISHED[name[:5]], f"{seconds:.0f} s", seeds, date])
    columns = [
        "experiment",
        "in-domain MSE",
        "adapted MSE",
        "best published (CoDA-l1)",
        "training a seed",
        "seeds",
        "date",
    ]
    return Table(columns, rows).markdown()


def speed() -> str:
    """Training steps beside naive ones of the same run, and how near they are to the machine's limit."""
    path = RESULTS / "speed.json"
    if not path.exists():
        return ""
    rows = []
    for r in json.loads(path.read_text())["rows"]:
        what = f"{r['name']}, {'teacher forcing' if r['phase'] == 'forced' else 'whole rollout'}"
        rows.append(
            [
                what, f"{r['ms']:.1f} ms", f"{r['naive_ms']:.0f} ms", f"{r['ratio']:.1f}x", f"{r['goal']:g}x",
                f"{100 * r['achieved']:.0f} %", f"{r['peak_MiB']:.0f} / {r['naive_peak_MiB']:.0f} MiB",
            ]
        )  # fmt: skip
    heads = [
        "CoDA step, one core",
        "leads",
        "naive, same run",
        "ratio",
        "goal",
        "of the machine's limit",
        "peak memory",
    ]
    return Table(heads, rows).markdown()


def simulation() -> str:
    """How much faster than SciPy's solvers, or the published generator, by family and accuracy."""
    path = RESULTS / "simulation.json"
    if not path.exists():
        return ""
    cells: dict[str, dict[str, str]] = {}
    own: dict[str, list[str]] = {}
    for r in json.loads(path.read_text())["rows"]:
        kind, _, how = str(r["case"]).partition(", ")
        ratio = f"{r['ratio']:.0f}x"
        if how in ("plain", "compiled"):
            row = cells.setdefault(r["family"], {})
            row[kind] = f"{row[kind]} / {ratio}" if kind in row else ratio
        elif " " in str(r["scipy"]):
            cells.setdefault(r["family"], {})
            own.setdefault(r["family"], []).append(f"{ratio} ({r['case']}; {r['scipy']})")
    kinds = ("published", "tight", "default")
    rows = [[family, *(row.get(k, "") for k in kinds), "; ".join(own.get(family, []))] for family, row in cells.items()]
    heads = [f"{k}, plain / compiled" for k in kinds]
    return Table(["simulating the benchmark set", *heads, "against the published generator"], rows).markdown()


def picture() -> None:
    folder = ROOT / "runs" / "lotka_volterra_coda_exact" / "seed0"
    if not folder.exists():
        return
    data = leads.generate(leads.make("lotka_volterra"))
    adapted = leads.Adapted.load(folder / "adapted.safetensors")
    seen = leads.trained(leads.load_model(folder / "model.safetensors"), data=data.train)
    forecast = adapted.forecast(data.adapt_test.initial, data.adapt_test.times)
    figures.trajectories(forecast, data.adapt_test, 3).savefig(ROOT / "docs" / "forecasts.png", dpi=110)
    figures.context_plane(seen, adapted, 1, "beta").savefig(ROOT / "docs" / "contexts.png", dpi=110)


def main() -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    for mark, table in (("errors", errors()), ("speed", speed()), ("simulation", simulation())):
        text = re.sub(
            rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", lambda m, t=table: m[1] + t + "\n" + m[2], text, flags=re.S
        )
    path.write_text(text)
    picture()


if __name__ == "__main__":
    main()

"""Tables of the studies: ours beside the published figures.

    python benchmarks/studies/tables.py

Reads benchmarks/results/studies/*.csv and hybrids.json, writes docs/studies.md between its marks.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from leads.evaluation import Table
from leads.evaluation.published import published

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "studies.md"
PROTOCOLS = ("in-domain", "adaptation")
#: What the sources call our methods; the first that has a figure is taken.
NAMES = {
    "erm": ("ERM",), "one_per_environment": ("One-per-Env", "one-per-env"), "leads": ("LEADS",), "maml": ("MAML",),
    "anil": ("ANIL",), "meta_sgd": ("Meta-SGD",), "cavia_concat": ("CAVIA-Concat", "CAVIA"), "cavia_film": ("CAVIA-FiLM",),
    "coda": ("CoDA-l1", "CoDA"), "geps": ("GEPS",), "ncf": ("NCF-t2", "NCF-T2", "NCF"), "foca": ("FOCA",),
    "geps_physics": ("GEPS-Phy",), "aphynity": ("APHYNITY",),
}  # fmt: skip


METRICS = {"mse": "MSE", "relative_l2": "relative L2"}


def metric_of(family: str, split: str) -> str:
    """The column to compare: the mean square error, or what the split's paper publishes."""
    known = {row.metric for protocol in PROTOCOLS for row in published(family, split, protocol)}
    return next((m for m in METRICS if m in known), "mse")


def figure(method: str, family: str, split: str, protocol: str, metric: str) -> str:
    """The published error and its spread, or a dash."""
    for name in NAMES.get(method, ()):
        for row in published(family, split, protocol):
            if row.method == name and row.metric == metric:
                return f"{row.mean:.2e}" + ("" if row.spread is None else f" ± {row.spread:.1e}")
    return "–"


def spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2e}"
    return f"{statistics.fmean(values):.2e} ± {statistics.stdev(values):.1e}"


def table(path: Path) -> str:
    """One study as Markdown, ordered by the error after adaptation."""
    errors: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: {p: defaultdict(list) for p in PROTOCOLS}
    )
    seconds: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    rows = list(csv.DictReader(path.open()))
    first = rows[0]
    metric = metric_of(first["family"], first["split"])
    for r in rows:
        errors[r["method"]][r["protocol"]][r["seed"]].append(float(r[metric]))
        seconds[r["method"]][r["seed"]] = (float(r["training_seconds"]), float(r["adaptation_seconds"]))
    mean = lambda m, p: [statistics.fmean(v) for v in errors[m][p].values()]
    lines = []
    for method in sorted(errors, key=lambda m: statistics.fmean(mean(m, "adaptation"))):
        lines.append([
            method,
            *(cell for p in PROTOCOLS for cell in (spread(mean(method, p)), figure(method, first["family"], first["split"], p, metric))),
            f"{statistics.fmean(t for t, _ in seconds[method].values()):.0f} s",
            f"{statistics.fmean(a for _, a in seconds[method].values()):.2f} s",
            ", ".join(sorted(errors[method]["adaptation"])),
        ])  # fmt: skip
    name = METRICS[metric]
    columns = [
        "method",
        f"in-domain {name}",
        "published",
        f"adaptation {name}",
        "published",
        "training",
        "adapting",
        "seeds",
    ]
    dates = sorted({r["date"][:10] for r in rows})
    steps = sorted({r["steps"] for r in rows}, key=int)
    study = path.stem.rsplit("_", 1)[0]
    called = "" if study == first["family"] else f" ({study.replace('_', ' ')})"
    head = (
        f"### {first['family']}{called}, split {first['split']}, {first['fidelity']} data, size {first['size']}\n\n"
        f"{' or '.join(steps)} steps; {first['device']}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; leads "
        f"{first['leads']} at {', '.join(sorted({r['commit'][:8] for r in rows}))}. Command: "
        f"`OMP_NUM_THREADS=1 python benchmarks/studies/run.py {study} --size {first['size']}`.\n\n"
    )
    return head + Table(columns, lines).markdown()


#: APHYNITY's Table 1 (paper text): log10 MSE and its spread, error of the parameters in percent.
APHYNITY = {
    ("pendulum", "network alone"): ("-2.84 ± .70", "–"), ("pendulum", "incomplete alone"): ("-.14 ± .10", "13.2"),
    ("pendulum", "incomplete + network"): ("-7.86 ± .60", "4.0"), ("pendulum", "complete alone"): ("-8.28 ± .40", ".45"),
    ("pendulum", "complete + network"): ("-8.31 ± .30", ".39"), ("pendulum", "true + network"): ("-8.44 ± .20", "–"),
}  # fmt: skip


def percent(rows: list[dict[str, Any]], key: str) -> str:
    """Mean over seeds of each parameter's error."""
    names = rows[0].get(key, {})
    return ", ".join(f"{n} {statistics.fmean(r[key][n] for r in rows):.2f}" for n in names) or "–"


def hybrids(path: Path) -> str:
    """APHYNITY's table as Markdown."""
    found = json.loads(path.read_text())
    lines = []
    for family, row in dict.fromkeys((r["family"], r["row"]) for r in found["rows"]):
        rows = [r for r in found["rows"] if (r["family"], r["row"]) == (family, row)]
        errors = [r["log10_mse"] for r in rows]
        known = row.startswith(("incomplete", "complete"))
        published_error, published_parameters = APHYNITY.get((family, row), ("–", "–"))
        lines.append([
            family, row,
            f"{statistics.fmean(errors):.2f}" + (f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""),
            published_error, percent(rows, "errors_percent") if known else "–",
            percent(rows, "least_norm_errors_percent") if known else "–", published_parameters,
            f"{statistics.fmean(r['seconds'] for r in rows):.0f} s", ", ".join(str(r["seed"]) for r in rows),
        ])  # fmt: skip
    columns = [
        "family", "physics", "log10 MSE", "published", "parameters' error in %", "of the least-norm split", "published",
        "training", "seeds",
    ]  # fmt: skip
    origin = found["provenance"]
    lines.sort(key=lambda line: (line[0], line[1].endswith("network"), line[1]))
    head = f"{origin['device']}; {origin['date'][:10]}; leads {origin['leads']} at {origin['commit'][:8]}.\n\n"
    return head + Table(columns, lines).markdown()


def put(text: str, mark: str, content: str) -> str:
    """``text`` with ``content`` between the marks."""
    return re.sub(
        rf"<!-- {mark} -->.*<!-- /{mark} -->",
        lambda _: f"<!-- {mark} -->\n{content.rstrip()}\n<!-- /{mark} -->",
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    results = ROOT / "benchmarks" / "results" / "studies"
    parts = [table(p) for p in sorted(results.glob("*.csv"))]
    text = put(PAGE.read_text(), "tables", "\n\n".join(p.rstrip() for p in parts))
    if (results / "hybrids.json").exists():
        text = put(text, "hybrids", hybrids(results / "hybrids.json"))
    PAGE.write_text(text)


if __name__ == "__main__":
    main()

"""Tables of the studies: ours beside the published figures.

    python benchmarks/studies/tables.py

Reads benchmarks/results/studies/*.csv, writes docs/studies.md between its marks.
"""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from pathlib import Path

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
    head = (
        f"### {first['family']}, split {first['split']}, {first['fidelity']} data, size {first['size']}\n\n"
        f"{' or '.join(steps)} steps; {first['device']}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; leads "
        f"{first['leads']} at {', '.join(sorted({r['commit'][:8] for r in rows}))}. Command: "
        f"`OMP_NUM_THREADS=1 python benchmarks/studies/run.py {path.stem.rsplit('_', 1)[0]} --size {first['size']}`.\n\n"
    )
    return head + Table(columns, lines).markdown()


def main() -> None:
    parts = [table(p) for p in sorted((ROOT / "benchmarks" / "results" / "studies").glob("*.csv"))]
    text = re.sub(
        r"(<!-- tables -->\n).*?(<!-- /tables -->)",
        lambda m: m[1] + "\n\n".join(parts) + "\n" + m[2],
        PAGE.read_text(),
        flags=re.S,
    )
    PAGE.write_text(text)


if __name__ == "__main__":
    main()

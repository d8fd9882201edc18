"""The table and the figure of docs/ocean_simulation.md, from benchmarks/results/ocean/simulation.json.

python benchmarks/ocean/figure.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[2]
LEADS = (1, 2, 5, 10, 15, 20)
#: Rows of the figure, with their colours.
SHOWN = {
    "persistence": "0.6", "damped persistence": "0.75", "physics, mean parameters": "tab:brown",
    "physics, adapted": "tab:olive", "one for all": "tab:blue", "GEPS": "tab:purple",
    "hybrid, one for all": "tab:orange", "hybrid with adapter": "tab:red",
}  # fmt: skip


def errors_of(rows: list[dict[str, Any]], channel: int) -> dict[str, np.ndarray]:
    """Error of every row in cm, by name: ``(seeds, environments, leads)``."""
    made: dict[str, list[Any]] = {}
    for row in rows:
        made.setdefault(row["row"], []).append(row["rmse_cm"][channel])
    return {name: np.array(values) for name, values in made.items()}


def table(result: dict[str, Any]) -> str:
    errors = errors_of(result["rows"], 0)
    took = lambda r: r.get("adaptation_core_seconds", r["adaptation_seconds"])
    seconds = {r["row"]: took(r) for r in result["rows"] if "adaptation_seconds" in r}
    lines = [
        "| | " + " | ".join(f"{k} d" for k in LEADS) + " | seeds | adapted in |",
        "|---|" + "---|" * (len(LEADS) + 2),
    ]
    for name, e in errors.items():
        each = e.mean(1)
        cells = []
        for k in LEADS:
            spread = f" ± {each[:, k].std(ddof=1):.2f}" if len(each) > 1 else ""
            cells.append(f"{each[:, k].mean():.2f}{spread}")
        time = f"{seconds[name]:.0f} s" if seconds.get(name, 0) > 0.5 else ""
        lines.append(
            f"| {name} | " + " | ".join(cells) + f" | {len(each) if name in trained(result) else ''} | {time} |"
        )
    return "\n".join(lines)


def trained(result: dict[str, Any]) -> set[str]:
    return {r["row"] for r in result["rows"] if "seed" in r}


def regions(result: dict[str, Any]) -> str:
    """The hybrid against its rivals in every region: the smallest and largest ratio of errors over leads of 2 to 20 days."""
    errors = {name: e.mean(0) for name, e in errors_of(result["rows"], 0).items()}
    best = errors["hybrid with adapter"]
    rivals = ("persistence", "physics, mean parameters", "physics, adapted", "one for all")
    lines = ["| region | " + " | ".join(rivals) + " |", "|---|" + "---|" * len(rivals)]
    for i, (beta, rd, *_) in enumerate(result["environments"]):
        cells = []
        for name in rivals:
            ratio = best[i, 2:] / errors[name][i, 2:]
            cells.append(f"{ratio.min():.2f} to {ratio.max():.2f}")
        lines.append(f"| beta {beta * 1e11:.2f}e-11, rd {rd / 1e3:.2f} km | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(result: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True)
    for axis, channel, what in zip(axes, (0, 1), ("sea surface height", "height of the lower layer"), strict=True):
        errors = errors_of(result["rows"], channel)
        for name, colour in SHOWN.items():
            if name not in errors:
                continue
            e = errors[name].reshape(-1, errors[name].shape[-1])
            days = np.arange(e.shape[1])
            axis.plot(days, e.mean(0), color=colour, label=name)
            axis.fill_between(days, e.min(0), e.max(0), color=colour, alpha=0.12, lw=0)
        axis.set(title=what, xlabel="lead time, days", ylabel="RMSE, cm", xlim=(0, 20), ylim=(0, None))
    axes[0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "ocean" / "simulation.json").read_text())
    page = ROOT / "docs" / "ocean_simulation.md"
    figure(result, page.with_suffix(".png"))
    text = page.read_text()
    for name, made in (("table", table(result)), ("regions", regions(result))):
        begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        before, rest = text.split(begin)
        text = before + begin + "\n" + made + "\n" + end + rest.split(end)[1]
    page.write_text(text)
    print(table(result), regions(result), sep="\n\n")


if __name__ == "__main__":
    main()

"""``make demo``: two families, from their equations to forecasts in environments never seen, in one report page.

Simulates Lotka-Volterra and Gray-Scott, trains shared dynamics with environment codes, adapts to unseen environments
from one trajectory each, and writes runs/demo/report.html. Weights are chosen on validation trajectories of seen
environments. One thread; about four minutes.
"""

from __future__ import annotations

import json
import time
import webbrowser
from pathlib import Path

from leads.cli.hydra import compose
from leads.evaluation.report import write_report
from leads.experiment import Run, run_fit

ROOT = Path(__file__).resolve().parent.parent
JOBS = {
    "Lotka-Volterra": ["experiment=lotka_volterra_coda", "trainer.steps=9000"],
    "Gray-Scott": [
        "experiment=gray_scott_coda",
        "backbone.settings.width=24",
        "integrator=midpoint",
        "trainer.steps=600",
        "trainer.validate_every=50",
        "adaptation.iterations=6",
        "trainer.horizons=[1,3]",
    ],
}


def main() -> None:
    began = time.perf_counter()
    pages, summary = [], {}
    for title, overrides in JOBS.items():
        folder = ROOT / "runs" / "demo" / title.lower().replace("-", "_")
        print(f"\n{title}: simulate, train, adapt, evaluate", flush=True)
        if not (folder / "evaluation.json").exists():
            run_fit(compose([*overrides, f"run_dir={folder}"]), "make demo")
        results = Run(folder).evaluation()
        for protocol, result in results.items():
            print(f"{protocol}: test MSE {result.scores['all']['mse']:.2e}", flush=True)
        summary[title] = {protocol: result.scores["all"]["mse"] for protocol, result in results.items()}
        # Who compares the errors with the published ones beside them should know what they are of.
        steps = Run(folder).experiment.trainer.steps
        pages.append(Run(folder).report(f"{title}, a short demonstration of {steps} training steps", []))
    page = write_report(pages, ROOT / "runs" / "demo" / "report.html", "leads: forecasts in environments never seen")
    seconds = time.perf_counter() - began
    out = ROOT / "runs" / "demo" / "summary.json"
    out.write_text(json.dumps({"seconds": seconds, "mse": summary}, indent=1))
    print(f"\n{seconds:.0f} s in all. The report: {page}")
    webbrowser.open(page.as_uri())


if __name__ == "__main__":
    main()

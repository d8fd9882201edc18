"""Forecast error of Lotka-Volterra after adaptation to noisy observations with values missing at random.

    OMP_NUM_THREADS=1 python benchmarks/adaptation/missing.py [model.safetensors]

CoDA, trained on nine environments, is adapted to four new ones from one trajectory of 20 frames each. Gaussian noise of
1 % of each channel's standard deviation is added to all frames, the first too, and a share of all values is then masked.
First states are estimated along with the context. Each row is 48 draws of noise and mask of the four environments. Without
a model file one is trained, 3000 steps. Errors
are root mean squares over the channel's standard deviation: of forecasts from the exact first states of the test
trajectories, and of the reconstructed support trajectory, both against the noise-free truth. Writes
benchmarks/results/adaptation_missing.json.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import leads
from leads.dynamics import DecomposedDynamics
from leads.experiment import provenance

NOISE, DRAWS = 0.01, 48
#: What is missing, and how the context is found.
ROWS: list[tuple[str, float, float, dict[str, Any]]] = [
    ("no noise, complete, first frames given", 0.0, 0.0, {}),
    ("complete, first frames taken as exact", NOISE, 0.0, {}),
    ("complete", NOISE, 0.0, {"initial": "estimated"}),
    ("25 % missing", NOISE, 0.25, {"initial": "estimated"}),
    ("50 % missing", NOISE, 0.50, {"initial": "estimated"}),
    ("75 % missing", NOISE, 0.75, {"initial": "estimated"}),
    ("50 % missing, one start, no prior", NOISE, 0.50, {"initial": "estimated", "starts": 1, "prior": 0.0}),
    ("50 % missing, prior of the seen", NOISE, 0.50, {"initial": "estimated", "starts": 1, "prior": "seen"}),
    ("50 % missing, 4 starts", NOISE, 0.50, {"initial": "estimated", "starts": 4}),
]


def observed(support: leads.Trajectories, noise: float, missing: float) -> leads.Trajectories:
    """``DRAWS`` noisy and masked copies of every environment, an environment's copies in a row."""
    generator = torch.Generator().manual_seed(0)
    x = support.states.repeat_interleave(DRAWS, 0)
    size = support.states.std((0, 1, 2))
    x = x + noise * size * torch.randn(x.shape, generator=generator).to(x)
    mask = torch.rand(x.shape, generator=generator) >= missing
    states = torch.where(mask, x, torch.nan)
    parameters = None if support.parameters is None else support.parameters.repeat_interleave(DRAWS, 0)
    return replace(support, states=states, mask=None if bool(mask.all()) else mask, parameters=parameters)


def errors(forecast: Tensor, truth: Tensor) -> Tensor:
    """Root mean square over the channels' standard deviation, of each environment and draw ``(E, DRAWS)``."""
    truth = truth.repeat_interleave(DRAWS, 0)
    size = truth.std((0, 1, 2))
    return ((forecast - truth) / size).square().flatten(1).mean(1).sqrt().reshape(-1, DRAWS)


def row(
    model: DecomposedDynamics, data: leads.trajectories.DataSplits, noise: float, missing: float, settings: Any
) -> dict:
    support = observed(data.adapt, noise, missing)
    began = time.perf_counter()
    adapted = leads.adapt(model, support, **settings)
    seconds = time.perf_counter() - began
    first = data.adapt_test.initial.repeat_interleave(DRAWS, 0)
    forecast = errors(adapted.forecast(first, data.adapt_test.times), data.adapt_test.states)
    start = support.initial if adapted.initial is None else adapted.initial
    own = errors(adapted.forecast(start, data.adapt.times), data.adapt.states)
    converged = torch.tensor(adapted.info["converged"])
    return {
        "noise": noise,
        "missing": missing,
        "settings": settings,
        "forecast_rms": float(forecast.square().mean().sqrt()),
        "forecast_mean": float(forecast.mean()),
        "forecast_median": float(forecast.median()),
        "forecast_worst": float(forecast.max()),
        "support_rms": float(own.square().mean().sqrt()),
        "converged": float(converged.double().mean()),
        "restarted": sum(r is not None for r in adapted.info.get("restarted", [])),
        "seconds": seconds,
    }


def main() -> None:
    torch.set_num_threads(1)
    family = leads.make("lotka_volterra")
    data = leads.generate(family)
    if len(sys.argv) > 1:
        model = leads.load_model(sys.argv[1])
    else:
        model = leads.build("coda", family, backbone="mlp", spread=0.1, context_penalty=1e-6)
        leads.fit(model, data.train, data.valid, steps=3000, average=0.998)
    rows = []
    titles = ("forecast", "mean", "median", "worst", "support", "converged", "restarted")
    print(f"{'observations':40s} " + " ".join(f"{t:>9s}" for t in titles))
    for name, noise, missing, settings in ROWS:
        found = {"name": name, **row(model, data, noise, missing, settings)}
        rows.append(found)
        print(
            f"{name:40s} {found['forecast_rms']:9.5f} {found['forecast_mean']:9.5f} {found['forecast_median']:9.5f} "
            f"{found['forecast_worst']:9.5f} {found['support_rms']:9.5f} {found['converged']:9.2f} {found['restarted']:9d}",
            flush=True,
        )
    by_name = {r["name"]: r for r in rows}
    keys = ("forecast_rms", "forecast_mean", "forecast_median", "support_rms")
    ratios = {
        name: {k: by_name[name][k] / by_name["complete"][k] for k in keys} for name in by_name if "% missing" in name
    }
    for name, ratio in ratios.items():
        print(f"{name}, over complete: " + ", ".join(f"{k} {v:.2f}" for k, v in ratio.items()))
    command = "OMP_NUM_THREADS=1 python benchmarks/adaptation/missing.py"
    result = {"provenance": provenance(command=command), "draws": DRAWS, "rows": rows, "over_complete": ratios}
    out = Path(__file__).resolve().parent.parent / "results" / "adaptation_missing.json"
    out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""True parameters of environments never seen, read off their contexts: Lotka-Volterra, one noise-free trajectory each.

    OMP_NUM_THREADS=1 python benchmarks/adaptation/meaning.py

Trains a model on the 9 seen environments, fits maps from contexts to parameters on those alone, and on contexts adapted
to 100 simulated environments, and reads the parameters of the 4 unseen environments and of 200 fresh ones, inside the
seen range and outside it. Starts of the 200 share nothing with those that a map was fitted on. Error bars are given as the
map has them, and calibrated on validation trajectories of the seen environments, adapted to one by one. Also the derivative of
the forecast in each parameter against that of the equations. Writes benchmarks/results/adaptation_meaning.json; about
one minute.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import leads
from leads.adaptation import ParameterMap, parameter_map, parameter_sensitivity
from leads.adaptation.meaning import simulated
from leads.experiment import provenance

TRAINING = {"steps": 3000, "average": 0.998}
FRESH, SIMULATED = 200, 100


def score(parameters: ParameterMap, calibrated: ParameterMap, adapted: leads.Adapted) -> dict[str, Any]:
    """Relative errors of every parameter, and the share of truths within the 90 % error bars."""
    estimate, honest = parameters.predict(adapted), calibrated.predict(adapted)
    assert adapted.parameters is not None
    truth = adapted.parameters[:, parameters.columns].double()
    error = (estimate.values - truth).abs()
    relative = error / truth.abs()
    return {
        "median_relative_error": float(relative.median()),
        "per_parameter": dict(zip(estimate.names, relative.median(0).values.tolist(), strict=True)),
        "relative_error_90_percent": float(relative.quantile(0.9)),
        "largest_relative_error": float(relative.max()),
        "coverage_of_90_percent_bars": float((error <= 1.6449 * estimate.std).double().mean()),
        "coverage_calibrated": float((error <= 1.6449 * honest.std).double().mean()),
    }


def sensitivity_error(parameters: ParameterMap, adapted: leads.Adapted, data: leads.Trajectories) -> dict[str, float]:
    """Relative L2 error of the forecast's derivative in each parameter, against central differences of the equations."""
    assert adapted.parameters is not None
    system = leads.make("lotka_volterra").system
    found = parameter_sensitivity(adapted, data.initial, data.times, parameters)
    errors = {}
    for name, values in found.items():
        shift = torch.zeros_like(adapted.parameters)
        shift[:, system.parameter_index(name)] = 1e-4
        up, down = (system.simulate(data.initial.double(), adapted.parameters + s * shift, data.times) for s in (1, -1))
        truth = (up - down) / 2e-4
        errors[name] = float((values - truth).norm() / truth.norm())
    return errors


def main() -> None:
    torch.set_num_threads(1)
    family = leads.make("lotka_volterra")
    data = leads.generate(family)
    if len(sys.argv) > 1:
        model = leads.load_model(sys.argv[1])
    else:
        model = leads.build("coda", family, backbone="mlp", spread=0.1, context_penalty=1e-6)
        leads.fit(model, data.train, data.valid, **TRAINING)
    environments = {
        "4 unseen (adapt data)": leads.adapt(model, data.adapt),
        "200 fresh inside": leads.adapt(model, simulated(family, family.sample(FRESH, "inside", 1), seed=10_000)),
        "200 fresh outside": leads.adapt(model, simulated(family, family.sample(FRESH, "outside", 2), seed=20_000)),
    }
    alone = replace(
        data.valid.unlabelled(), parameters=data.train.parameters.repeat_interleave(data.valid.n_trajectories, 0)
    )
    valid = leads.adapt(model, alone)
    sources = {"seen": "seen", f"{SIMULATED} simulated": family.sample(SIMULATED, "inside", 3)}
    results = []
    for name, fit_on in sources.items():
        for kind in ("linear", "quadratic", "gaussian_process", "auto"):
            found = parameter_map(model, fit_on, family=family, kind=kind, seed=30_000)
            calibrated = found.calibrated(valid)
            scores = {label: score(found, calibrated, adapted) for label, adapted in environments.items()}
            results.append(
                {
                    "fit_on": name,
                    "kind": kind,
                    "chosen": [found.kind, found.directions],
                    "left_out_error": found.errors.tolist(),
                    "environments": scores,
                    "sensitivity_relative_error": sensitivity_error(
                        found, environments["4 unseen (adapt data)"], data.adapt
                    ),
                }
            )
            line = "; ".join(
                f"{label}: {s['median_relative_error']:.3%}, bars {s['coverage_of_90_percent_bars']:.0%}, "
                f"calibrated {s['coverage_calibrated']:.0%}"
                for label, s in scores.items()
            )
            print(f"{name:14s} {kind:17s} ({found.kind}) {line}", flush=True)
    result = {
        "provenance": provenance(command="OMP_NUM_THREADS=1 python benchmarks/adaptation/meaning.py"),
        "model": "trained here" if len(sys.argv) < 2 else sys.argv[1],
        "training": TRAINING,
        "in_domain_mse": leads.evaluate(leads.trained(model, family.seen), data.test).scores["all"]["mse"],
        "maps": results,
    }
    out = Path(__file__).parent.parent / "results" / "adaptation_meaning.json"
    out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

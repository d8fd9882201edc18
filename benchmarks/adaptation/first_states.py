"""First states of a field found along with the context: Gray-Scott, 32 x 32 cells, 2,048 unknowns a trajectory.

    OMP_NUM_THREADS=1 python benchmarks/adaptation/first_states.py model.safetensors [--frames 5] [--iterations 20]

A twin experiment: the truth is a forecast of the model itself (a trained one of the Gray-Scott family, such as `make demo`
leaves in runs/demo/gray_scott), in an environment half way between the shared context and the first seen one. Noise of 5 %
of each channel's standard deviation is added to all frames, and 30 % of all values are masked. Then the context and the
first state are found, by matrix-free Gauss-Newton and by as long a run of gradient steps, and compared with the truth and
with what is known of the first frame without a fit (values that were not observed are those observed next). Writes
benchmarks/results/adaptation_first_states.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import leads
from leads.adaptation.support import filled
from leads.experiment import provenance

NOISE, MISSING = 0.05, 0.3


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=20)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model, family = leads.load_model(args.model), leads.make("gray_scott")
    data = leads.generate(family)
    adapt = data.adapt.select(environments=[0], frames=slice(0, args.frames))
    code = {k: 0.5 * v[:1].detach() for k, v in model.source.table().items()}
    with torch.no_grad():
        truth = model.rollout(adapt.initial, adapt.times, code)
    size = truth.std((0, 1, 2, 4, 5))
    generator = torch.Generator().manual_seed(0)
    noise = NOISE * size.reshape(-1, 1, 1)
    states = truth + noise * torch.randn(truth.shape, generator=generator)
    mask = torch.rand(truth.shape, generator=generator) >= MISSING
    support = replace(adapt, states=states.where(mask, torch.nan), mask=mask)

    def error(first: torch.Tensor) -> list[float]:
        return ((first - truth[:, :, 0]).square().mean((0, 1, 3, 4)).sqrt() / size).tolist()

    rows: list[dict[str, Any]] = [
        {"how": "observed, filled", "first_state_error": error(filled(support, True).initial)}
    ]
    began = time.perf_counter()
    found = leads.adapt(model, support, initial="estimated", noise=(NOISE * size).tolist(), iterations=args.iterations)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    leads.adapt(model, support, initial="estimated", solver="gradient", steps=5)
    steps = int(5 * seconds / (time.perf_counter() - began))
    slow = leads.adapt(model, support, initial="estimated", solver="gradient", steps=steps)
    for adapted, more in ((found, {"seconds": seconds}), (slow, {"steps": steps})):
        assert adapted.initial is not None
        off = {k: float((adapted.contexts[k] - v).norm() / v.norm()) for k, v in code.items()}
        rows.append({
            "how": adapted.info["solver"],
            "first_state_error": error(adapted.initial),
            "context_relative_error": off,
            "iterations": adapted.info["iterations"],
            "converged": adapted.info["converged"],
            "misfit": adapted.info.get("misfit"),
            **more,
        })  # fmt: skip
    print(json.dumps(rows, indent=1))
    command = "OMP_NUM_THREADS=1 python benchmarks/adaptation/first_states.py " + shlex.join(arguments)
    about = {"noise": NOISE, "missing": MISSING, "frames": args.frames, "unit": "standard deviation of each channel"}
    out = Path(__file__).parents[1] / "results" / "adaptation_first_states.json"
    out.write_text(json.dumps({"provenance": provenance(command=command), **about, "rows": rows}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])

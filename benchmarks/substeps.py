"""What a method's steps cost with the TRUE field: the error that a model of the field cannot be below.

    OMP_NUM_THREADS=1 python benchmarks/substeps.py [--family glycolytic_oscillator] [--method rk4]

Published-fidelity data of CoDA's split (seed 777, training trajectories), advanced by the family's own equations in 1, 2, 4, 5
and 8 equal steps between two frames. Prints the mean and the median of the mean square error over trajectories and writes
benchmarks/results/substeps.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import torch

import leads
from leads.experiment import provenance
from leads.integrators import integrate
from leads.trajectories.cache import write_whole


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="glycolytic_oscillator")
    parser.add_argument("--method", default="rk4")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    family = leads.make(args.family, split="coda")
    data = leads.generate(family, seed=777, fidelity="published").train.to(dtype=torch.float64)
    parameters = data.parameters[:, None]
    rows = []
    for substeps in (1, 2, 4, 5, 8):
        field = lambda t, x: family.system.rhs(t, x, parameters)
        states = integrate(field, data.initial, data.times, method=args.method, substeps=substeps).movedim(0, 2)
        error = (states - data.states).square().flatten(2).mean(2)
        left = ~torch.isfinite(error)
        kept = error[~left]
        rows.append(
            {
                "substeps": substeps, "diverged": int(left.sum()), "trajectories": error.numel(),
                "mean": float(kept.mean()), "median": float(kept.median()),
            }
        )  # fmt: skip
        print(rows[-1])
    result = {
        "provenance": provenance(command="OMP_NUM_THREADS=1 python benchmarks/substeps.py " + shlex.join(arguments)),
        "family": args.family, "method": args.method, "rows": rows,
    }  # fmt: skip
    out = Path(__file__).resolve().parent / "results" / "substeps.json"
    write_whole(out, json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    main(sys.argv[1:])

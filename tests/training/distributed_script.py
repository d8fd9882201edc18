"""Run by torchrun in test_processes.py: trains on two processes, and lets one die where asked to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

import leads
from leads.training import launched


def model_and_data(method: str) -> tuple[leads.DecomposedDynamics, leads.Trajectories, leads.Trajectories]:
    family = leads.make("lotka_volterra")
    data = leads.generate(family)
    train = data.train.select(environments=[0, 3, 8], trajectories=[0, 1, 2], frames=slice(0, 6))
    valid = data.valid.select(environments=[0, 3, 8], trajectories=[0], frames=slice(0, 6))
    model = leads.build(method, train, backbone_settings={"width": 8, "depth": 1}, seed=0)
    return model.double(), train.to(dtype=torch.float64), valid.to(dtype=torch.float64)


SETTINGS = {"steps": 8, "lr": 1e-2, "validate_every": 4, "horizons": (2, 0), "average": 0.5, "checkpoint_every": 2}


def dies(folder: Path) -> None:
    processes = launched("cpu")
    assert processes is not None
    model, train, valid = model_and_data("coda")
    if processes.rank == 1:
        after = model.adapter.after_step
        steps = []

        def after_step(loss: torch.Tensor) -> None:
            steps.append(after(loss))
            if len(steps) == 5:
                os._exit(3)

        model.adapter.after_step = after_step  # type: ignore[method-assign]
    leads.fit(model, train, valid, run_dir=folder / "dies", processes=processes, **SETTINGS)


def trains(folder: Path) -> None:
    for split in ("environments", "trajectories"):
        processes = launched("cpu", split)
        for method in ("coda", "leads", "anil"):
            model, train, valid = model_and_data(method)
            result = leads.fit(
                model, train, valid, run_dir=folder / f"{split}_{method}", processes=processes, **SETTINGS
            )
            if processes is not None and processes.writes:
                torch.save([model.state_dict(), result.history], folder / f"{split}_{method}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"dies": dies, "trains": trains}[sys.argv[1]](Path(sys.argv[2]))

"""Data of the simulation experiment: two-layer turbulence on fine grids, seen as layer heights on a coarse one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

import leads
from leads.environments.two_layer_qg import DAY, GRAVITY, TwoLayerQG
from leads.ocean.quasi_geostrophy import LayerHeights
from leads.ocean.units import InUnits
from leads.trajectories import Trajectories

#: Trajectories of one environment each: training and validation (seen), support and test (new).
PARTS = {"train": 0, "valid": 1, "adapt": 2, "test": 3}


def coarse_system(plan: dict[str, Any], dissipation: str = "hyperviscosity") -> InUnits:
    """The model that forecasters know: layer heights on the coarse grid, time in days, heights in ``plan["unit"]``."""
    heights = LayerHeights(plan["coarse"], dissipation, **plan["system"])  # type: ignore[arg-type]
    return InUnits(heights, DAY, plan["unit"], f"{plan['unit']:g} m")


def seen_heights(system: TwoLayerQG, q: Tensor, p: Tensor, plan: dict[str, Any]) -> Tensor:
    """Layer heights in units of the plan of potential vorticity ``(E, N, T, 2, Y, X)``: the modes that the coarse grid's
    2/3 rule carries, on that grid."""
    g = system.modes.to(q)
    psi = g.forward(system.streamfunction(q, p[:, None, None].to(q)))
    n = plan["coarse"]
    small = type(g)((n, n), g.lengths).to(q)
    kept = small.dealias * g.resample(psi, (n, n))
    return small.inverse(kept) * (system.f0 / GRAVITY / plan["unit"])


def simulate(p: Tensor, seed: int, n: int, plan: dict[str, Any]) -> Trajectories:
    """``n`` trajectories of every environment in ``p``, from developed turbulence of its own."""
    system = TwoLayerQG(plan["fine"], **plan["system"])
    draws = np.random.RandomState(seed)
    x0 = system.sample_x0(len(p) * n, draws).unflatten(0, (len(p), n)).float()
    system.step = 7200.0
    start = system.simulate(x0, p, torch.tensor([0.0, plan["spin_up_days"] * DAY], dtype=torch.float64))[:, :, -1]
    system.step = TwoLayerQG.step
    days = torch.arange(plan["frames"], dtype=torch.float64)
    q = system.simulate(start, p, days * DAY)
    coarse = coarse_system(plan)
    return Trajectories(
        seen_heights(system, q.double(), p, plan).float(),
        days,
        p,
        channels=coarse.channels,
        parameter_specs=coarse.parameters,
        grid=coarse.grid,
        attributes={"family": plan["family"]["name"], "seed": seed},
    )


def make_data(plan: dict[str, Any], folder: Any) -> dict[str, Trajectories]:
    """All parts, kept in ``folder``."""
    family = leads.make(plan["family"]["name"], split=plan["family"]["split"], size=plan["fine"])
    made = {}
    for name, number in PARTS.items():
        path = folder / f"{name}.pt"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            p = family.seen if name in ("train", "valid") else family.unseen
            data = simulate(p, 1000 * plan["data_seed"] + number, plan["trajectories"][name], plan)
            torch.save({"states": data.states, "times": data.times, "parameters": p}, path)
        kept = torch.load(path)
        coarse = coarse_system(plan)
        made[name] = Trajectories(
            kept["states"], kept["times"], kept["parameters"], channels=coarse.channels,
            parameter_specs=coarse.parameters, grid=coarse.grid, attributes={"family": "two_layer_qg"},
        )  # fmt: skip
    return made

"""Free pendulums of which the angle alone is observed."""

from __future__ import annotations

from functools import cache

import torch

import leads
from leads.hidden import HiddenStateDynamics, build_hidden
from leads.observation import Channels
from leads.trajectories import Trajectories, observe

PHYSICS = {"family": "pendulum", "terms": ["oscillation"], "own": {"omega0": 1.0}}
TIMES = torch.arange(9, dtype=torch.float64) * 0.4


def pendulums(frequencies: list[float], n: int, seed: int) -> Trajectories:
    """Full states: angles and angular velocities, ``(E, n, 9, 2)``."""
    system = leads.make("pendulum").system
    p = torch.tensor([[0.0, w, 0.0, 0.0] for w in frequencies], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    x0 = 2 * torch.rand(len(p), n, 2, generator=generator, dtype=torch.float64) - 1
    states = system.simulate(x0, p, TIMES)
    return Trajectories(states.float(), TIMES, p, channels=system.channels)


def angles(full: Trajectories) -> Trajectories:
    return observe(full, Channels("theta"))


@cache
def fitted() -> tuple[HiddenStateDynamics, Trajectories]:
    """A model that was trained on angles, and the training data."""
    seen = angles(pendulums([0.8, 1.0, 1.2], 16, seed=0))
    model = build_hidden(
        "aphynity",
        seen,
        "mlp",
        physics=PHYSICS,
        network=False,
        frames=3,
        encoder="mlp",
        encoder_settings={"width": 32, "depth": 2},
        substeps=1,
    )
    valid = angles(pendulums([0.8, 1.0, 1.2], 4, seed=1))
    leads.fit(model, seen, valid, steps=180, lr=1e-2, horizons=(2, 0), validate_every=60)
    return model, seen

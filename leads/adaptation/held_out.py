"""Fresh environments of a family: what calibration needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from leads.environments import EnvironmentFamily
from leads.errors import SettingsError
from leads.trajectories import Trajectories, simulate
from leads.trajectories.generate import draw_states


def held_out_environments(
    family: EnvironmentFamily,
    n: int,
    split: Literal["inside", "outside", "shift"] = "inside",
    *,
    support: int = 1,
    truth: int = 4,
    noise: float = 0.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Trajectories, Trajectories]:
    """Draw environments from a family's distribution and simulate them.

    Every trajectory of every environment starts from a state of its own, so that environments are exchangeable.

    Args:
        family: what :func:`leads.make` returns.
        n: how many environments.
        split: see :meth:`EnvironmentFamily.sample`; ``"inside"`` to calibrate.
        support, truth: trajectories of each environment to adapt to, and to forecast.
        noise: standard deviation of Gaussian noise on the support, in units of the states, all frames.
        seed: of parameters, initial states and noise.

    Returns:
        Support ``(n, support, T, C, *X)`` on the family's times, and truth ``(n, truth, T', C, *X)`` on its test times.
        Their attributes hold ``noise`` and ``held_out_seed``, which a calibration remembers.

    Raises:
        SettingsError: numbers below one, or negative noise.
    """
    if min(support, truth) < 1 or noise < 0:
        raise SettingsError(
            f"support and truth count trajectories, noise is not negative; got {support}, {truth}, {noise}."
        )
    rng = np.random.RandomState(seed)
    parameters = family.sample(n, split, rng)
    seeds = rng.randint(0, 2**31 - 1, size=n * (support + truth)).tolist()
    x0 = draw_states(family.system, seeds).unflatten(0, (n, support + truth))
    made = simulate(family.system, parameters, x0, family.horizon_times, estimate_error=False)
    first = _on(made.select(trajectories=slice(0, support)), family)
    states = first.states
    if noise > 0:
        states = states + noise * torch.from_numpy(rng.standard_normal(tuple(states.shape)))
    rest = made.select(trajectories=slice(support, None))
    about = {"noise": noise, "held_out_seed": seed}
    return (
        replace(first, states=states.to(dtype), attributes={**first.attributes, **about}),
        replace(rest, states=rest.states.to(dtype), attributes={**rest.attributes, **about}),
    )


def _on(data: Trajectories, family: EnvironmentFamily) -> Trajectories:
    """Cut to the family's training times, which test times go on from; simulated anew where they do not."""
    t = family.times
    if len(t) <= len(data.times) and bool(torch.isclose(data.times[: len(t)], t).all()):
        return data.select(frames=slice(0, len(t)))
    if data.parameters is None:
        raise SettingsError("Environments without parameters cannot be simulated again.")
    return simulate(family.system, data.parameters, data.initial, t, estimate_error=False)

"""Van der Pol's oscillator: from a near-harmonic to a relaxation oscillation."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System


class VanDerPol(System):
    """Position x (a voltage) and velocity v:

        dx/dt = v
        dv/dt = mu (1 - x^2) v - x

    State ``(2,)``, without units. Default mu = 1. Initial states are uniform in [-3, 3] x [-3, 3] (ours), on both sides
    of the limit cycle that attracts all of them.

    Known: for mu = 0 a harmonic oscillator; for small mu the cycle has amplitude 2 and period
    2 pi (1 + mu^2 / 16 - 5 mu^4 / 3072 + O(mu^6)); for large mu its period tends to (3 - 2 log 2) mu. The energy
    (v^2 + x^2) / 2 changes at the rate mu (1 - x^2) v^2.
    Source: van der Pol, Philosophical Magazine 2 (1926) 978, who draws mu = 0.1, 1 and 10; the period: Andersen and
    Geer, SIAM Journal on Applied Mathematics 42 (1982) 678.
    """

    channels = (Channel("x", "1", "position"), Channel("v", "1", "velocity"))
    parameters = (Parameter("mu", "1", 0.0, 20.0, "strength of the nonlinear damping"),)
    rtol, atol = 1e-12, 1e-14

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        position, velocity = x.unbind(-1)
        (mu,) = p.unbind(-1)
        return torch.stack([velocity, mu * (1 - position * position) * velocity - position], -1)

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of this system's data is published."""
        return self.simulate(x0, p, t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform(-3.0, 3.0, size=(n, 2)))

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``energy``, (v^2 + x^2) / 2: conserved for mu = 0."""
        del p
        return {"energy": 0.5 * x.square().sum(-1)}


#: seen mu, unseen mu, budget, source
_SPLITS = {
    "ours": (
        (0.1, 0.5, 1.0, 2.0, 3.0, 4.0),
        (0.3, 1.5, 3.5, 5.0),
        Budget(train=4, test=32),
        "Ours, from the smallest mu of van der Pol (1926) to the beginning of relaxation oscillations.",
    ),
}


@register("van_der_pol")
def van_der_pol(split: Literal["ours"] = "ours") -> EnvironmentFamily:
    """Van der Pol's oscillator on 40 frames, dt = 0.25, tested to twice that time.

    Args:
        split: ``"ours"``: 6 seen environments with mu from 0.1 to 4; 4 unseen, three in between and mu = 5 beyond.
    """
    seen, unseen, budget, source = choose_split("van_der_pol", split, _SPLITS)
    return EnvironmentFamily(
        name="van_der_pol",
        split=split,
        system=VanDerPol(),
        seen=torch.tensor(seen, dtype=torch.float64)[:, None],
        unseen=torch.tensor(unseen, dtype=torch.float64)[:, None],
        times=torch.arange(40, dtype=torch.float64) * 0.25,
        test_times=torch.arange(80, dtype=torch.float64) * 0.25,
        budget=budget,
        distribution=Box((min(seen),), (max(seen),)),
        source=source,
        arguments={"split": split},
    )

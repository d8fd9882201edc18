"""Sel'kov's model of glycolysis: two chemicals and a Hopf bifurcation."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System


class Selkov(System):
    """ADP x and fructose 6-phosphate y:

        dx/dt = -x + a y + x^2 y
        dy/dt = b - a y - x^2 y

    State ``(2,)``, without units. Default a = 0.1, b = 0.6. The only fixed point is x = b, y = b / (a + b^2); it is
    unstable, and a limit cycle surrounds it, where ``b^4 - (1 - 2a) b^2 + a + a^2 < 0``: for a = 0.1, where |b| is
    between 0.42 and 0.79. Changing the signs of x, y and b together changes nothing. Initial states are uniform in
    [0, 3]^2.
    Source: Sel'kov, European Journal of Biochemistry 4 (1968) 79, in the form of Strogatz, Nonlinear Dynamics and Chaos,
    example 7.3.2; set-up of Nzoyem et al., Neural Context Flows (2025), which also takes b below zero.
    """

    channels = (Channel("x", "1", "ADP concentration"), Channel("y", "1", "fructose 6-phosphate concentration"))
    parameters = (
        Parameter("a", "1", 0.01, 1.0, "rate of the uncatalysed reaction"),
        Parameter("b", "1", -3.0, 3.0, "supply of fructose 6-phosphate"),
    )
    rtol, atol = 1e-12, 1e-14

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        adp, fructose = x.unbind(-1)
        a, b = p.unbind(-1)
        reaction = (a + adp * adp) * fructose
        return torch.stack([reaction - adp, b - reaction], -1)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform(0.0, 3.0, size=(n, 2)))

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``total`` x + y, which changes at the rate ``b - x``; ``reaction`` ``(a + x^2) y``; and ``divergence`` of the flow,
        ``2 x y - 1 - a - x^2``, the rate at which areas of states grow."""
        adp, fructose = x.unbind(-1)
        a = p[..., 0]
        return {
            "total": adp + fructose,
            "reaction": (a + adp * adp) * fructose,
            "divergence": 2 * adp * fructose - 1 - a - adp * adp,
        }


_SUPPLIES = np.concatenate([np.linspace(-1, -0.25, 7), np.linspace(-0.1, 0.1, 7), np.linspace(0.25, 1, 7)])

#: seen b, unseen b, budget, source
_SPLITS = {
    "ncf": (
        tuple(_SUPPLIES.tolist()),
        (-1.25, -0.65, -0.05, 0.02, 0.6, 1.2),
        Budget(train=4, test=4, valid=4, adapt_test=4),
        "Nzoyem et al. (2025), Neural Context Flows: public code. It swaps the seeds of training and test initial "
        "states; here they follow the common rule.",
    ),
}


@register("selkov")
def selkov(split: Literal["ncf"] = "ncf") -> EnvironmentFamily:
    """Sel'kov's model on 11 frames, dt = 4, the last at the horizon T = 40.

    Args:
        split: ``"ncf"``: 21 seen environments with b in three clusters (on both sides of the Hopf bifurcation, and
            around zero), 6 unseen in between and beyond; a = 0.1.
    """
    seen, unseen, budget, source = choose_split("selkov", split, _SPLITS)
    return EnvironmentFamily(
        name="selkov",
        split=split,
        system=Selkov(),
        seen=torch.tensor([(0.1, b) for b in seen], dtype=torch.float64),
        unseen=torch.tensor([(0.1, b) for b in unseen], dtype=torch.float64),
        times=torch.arange(11, dtype=torch.float64) * 4.0,
        budget=budget,
        distribution=Box((0.1, min(seen)), (0.1, max(seen))),
        source=source,
        arguments={"split": split},
    )

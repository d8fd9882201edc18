"""Lorenz-63: convection in three numbers, and the first strange attractor."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System


class Lorenz(System):
    """Speed of the overturning x, temperature contrast y of rising and sinking fluid, distortion z of the profile:

        dx/dt = sigma (y - x)
        dy/dt = x (rho - z) - y
        dz/dt = x y - beta z

    State ``(3,)``, without units; sigma is the Prandtl number, rho the Rayleigh number over its critical value, beta
    comes from the cells' aspect ratio. Defaults sigma = 10, rho = 28, beta = 8/3. Initial states are uniform in the box
    [-15, 15] x [-20, 20] x [10, 40] around the attractor (ours), onto which they contract within half a unit of time.

    Known exactly: volumes shrink at the rate sigma + 1 + beta; on the axis x = y = 0, z decays as exp(-beta t); the
    fixed points are the origin and x = y = +-sqrt(beta (rho - 1)), z = rho - 1, stable up to
    rho = sigma (sigma + beta + 3) / (sigma - beta - 1), which is 24.74 at the defaults.
    Chaotic at the defaults: errors grow by exp(0.906 t) on average, so that no double-precision solution means anything
    beyond t of about 35, and two solvers agree to 1e-10 for t up to a few units.
    Source: Lorenz, Journal of the Atmospheric Sciences 20 (1963) 130, equations 25-27.
    """

    channels = (
        Channel("x", "1", "speed of the overturning"),
        Channel("y", "1", "horizontal temperature contrast"),
        Channel("z", "1", "distortion of the vertical temperature profile"),
    )
    parameters = (
        Parameter("sigma", "1", 0.1, 50.0, "Prandtl number"),
        Parameter("rho", "1", 0.0, 200.0, "Rayleigh number over its critical value"),
        Parameter("beta", "1", 0.1, 10.0, "aspect of the cells"),
    )
    rtol, atol = 1e-13, 1e-13

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        speed, contrast, profile = x.unbind(-1)
        sigma, rho, beta = p.unbind(-1)
        return torch.stack(
            [sigma * (contrast - speed), speed * (rho - profile) - contrast, speed * contrast - beta * profile], -1
        )

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of this system's data is published."""
        return self.simulate(x0, p, t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform((-15.0, -20.0, 10.0), (15.0, 20.0, 40.0), size=(n, 3)))

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``lyapunov``, ``V = rho x^2 + sigma y^2 + sigma (z - 2 rho)^2``, which falls outside an ellipsoid, and so bounds
        all states: ``dV/dt = -2 sigma (rho x^2 + y^2 + beta z^2 - 2 beta rho z)``; and ``divergence``, the rate
        ``-(sigma + 1 + beta)`` at which volumes of states change."""
        speed, contrast, profile = x.unbind(-1)
        sigma, rho, beta = p.unbind(-1)
        value = rho * speed**2 + sigma * contrast**2 + sigma * (profile - 2 * rho) ** 2
        return {"lyapunov": value, "divergence": -(sigma + 1 + beta) + torch.zeros_like(speed)}


_BETA = 8 / 3

#: seen, unseen, range of fresh environments, budget, source
_SPLITS = {
    "ours": (
        [(s, r, _BETA) for s, r in product((8.0, 10.0, 12.0), (24.0, 28.0, 32.0))],
        [(s, r, _BETA) for s, r in product((9.0, 13.0), (26.0, 34.0))],
        Box((8.0, 24.0, _BETA), (12.0, 32.0, _BETA)),
        Budget(train=8, test=32),
        "Ours, around the values of Lorenz (1963).",
    ),
}


@register("lorenz")
def lorenz(split: Literal["ours"] = "ours") -> EnvironmentFamily:
    """Lorenz-63 on 40 frames, dt = 0.05, tested to twice that time.

    Args:
        split: ``"ours"``: 9 seen environments, sigma in 8, 10, 12 and rho in 24, 28, 32 (the first below the onset of
            sustained chaos, the others above); 4 unseen, one half inside the range of each parameter and one half beyond.
    """
    seen, unseen, box, budget, source = choose_split("lorenz", split, _SPLITS)
    return EnvironmentFamily(
        name="lorenz",
        split=split,
        system=Lorenz(),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(40, dtype=torch.float64) * 0.05,
        test_times=torch.arange(80, dtype=torch.float64) * 0.05,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split},
    )

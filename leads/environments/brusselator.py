"""Brusselator: an autocatalytic reaction that oscillates and diffuses."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.grid_system import GridSystem
from leads.environments.system import Channel, Grid, Parameter
from leads.numerics.stencils import laplacian_nine


class Brusselator(GridSystem):
    """Concentrations u and v on a periodic square grid:

        u_t = D_u lap(u) + A - (B + 1) u + u^2 v
        v_t = D_v lap(v) + B u - u^2 v

    D_u = 1, D_v = 0.1, cells of size 1; the Laplacian is the isotropic nine-point stencil (order 2). The uniform state
    ``u = A, v = B / A`` is steady; it oscillates where ``B > 1 + A^2``.

    State ``(2, size, size)``. Initial states: u = A0 and v = B0 / A0 + 0.1 N(0, 1), the noise drawn in every cell, A0
    uniform in [0.5, 2] and B0 in [1.25, 5] once a trajectory, whatever A and B are.
    Reference solutions: order 8, relative error below 1e-9.
    Source: Prigogine and Lefever (1968); set-up of Nzoyem et al., Neural Context Flows (2025), public code.
    """

    channels = (
        Channel("u", "1", "concentration of the activator"),
        Channel("v", "1", "concentration of the inhibitor"),
    )
    parameters = (
        Parameter("A", "1/time", 0.1, 5.0, "feed rate"),
        Parameter("B", "1/time", 0.0, 10.0, "conversion rate"),
    )
    diffusion = (1.0, 0.1)

    def __init__(self, size: int = 8) -> None:
        size = whole("size", size, 4)
        self.grid = Grid((size, size), (1.0, 1.0), ("y", "x"))

    def rates(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        u, v = x
        feed, conversion = p
        made = u * u * v
        used = conversion * u
        du = self.diffusion[0] * laplacian_nine(u, 1.0) + feed - used - u + made
        dv = self.diffusion[1] * laplacian_nine(v, 1.0) + used - made
        return torch.stack([du, dv])

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        x = np.empty((n, *self.state_shape))
        for state in x:
            a, b = generator.uniform(0.5, 2.0), generator.uniform(1.25, 5.0)
            state[0] = a
            state[1] = b / a + 0.1 * generator.standard_normal(state[1].shape)
        return torch.from_numpy(x)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Means over the grid of u and v, each ``(...)``."""
        mean = x.mean((-2, -1))
        return {"mean u": mean[..., 0], "mean v": mean[..., 1]}


#: seen, unseen, budget, range of fresh environments, source
_SPLITS = {
    "ncf": (
        tuple(product((0.75, 1.0, 1.25), (3.25, 3.5, 3.75))),
        tuple(product((0.875, 1.125, 1.375), (3.125, 3.375, 3.625, 3.875))),
        Budget(train=4, test=32),
        Box((0.75, 3.25), (1.25, 3.75)),
        "Nzoyem et al. (2025), Neural Context Flows: public code.",
    ),
}


@register("brusselator")
def brusselator(split: Literal["ncf"] = "ncf", size: int = 8) -> EnvironmentFamily:
    """Brusselator, 20 frames 0.5 apart.

    Args:
        split: ``"ncf"`` (9 seen, 12 unseen environments in A and B).
        size: cells a side; 8 as published.
    """
    seen, unseen, budget, box, source = choose_split("brusselator", split, _SPLITS)
    return EnvironmentFamily(
        name="brusselator",
        split=split,
        system=Brusselator(size),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(20, dtype=torch.float64) * 0.5,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split, "size": size},
    )

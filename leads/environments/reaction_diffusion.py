"""Reaction-diffusion of FitzHugh and Nagumo's type: an excitable medium."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.grid_system import GridSystem
from leads.environments.system import Channel, Grid, Parameter, Term
from leads.numerics.stencils import laplacian


class ReactionDiffusion(GridSystem):
    """Activator u and inhibitor v on the periodic square [-1, 1]^2:

        u_t = a lap(u) + u - u^3 - v - k
        v_t = b lap(v) + u - v

    Published values: a = 1e-3, b = 5e-3, k = 5e-3, 32 x 32 cells of width 2/32; the Laplacian is the five-point stencil
    (order 2). State ``(2, size, size)``. Initial states: uniform in [0, 1], drawn in every cell.
    Reference solutions: order 8, relative error below 1e-9. The published generator is SciPy's RK45 at its default
    tolerances; its output every 1e-3, of which every hundredth is kept, is the interpolant of ``simulate_published``.
    Source: FitzHugh (1961), Nagumo et al. (1962); set-up of Yin et al., APHYNITY (2021).
    """

    channels = (Channel("u", "1", "activator"), Channel("v", "1", "inhibitor"))
    parameters = (
        Parameter("a", "length2/time", 0.0, 0.02, "diffusivity of the activator"),
        Parameter("b", "length2/time", 0.0, 0.02, "diffusivity of the inhibitor"),
        Parameter("k", "1/time", -0.5, 0.5, "external stimulus"),
    )

    terms = (Term("diffusion", ("a", "b")), Term("reaction", ("k",)))

    def __init__(self, size: int = 32) -> None:
        size = whole("size", size, 4)
        self.grid = Grid((size, size), (2.0 / size, 2.0 / size), ("y", "x"))

    def rates(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        u, v = x
        a, b, k = p
        assert self.grid is not None
        spacing = self.grid.spacing
        du = a * laplacian(u, spacing) + u - u * u * u - v - k
        dv = b * laplacian(v, spacing) + u - v
        return torch.stack([du, dv])

    def parts(self, t: Tensor, x: Tensor, p: Tensor) -> dict[str, Callable[[], Tensor]]:
        """``diffusion`` and ``reaction`` (u - u^3 - v - k, u - v)."""
        del t
        u, v = x
        a, b, k = p
        assert self.grid is not None
        spacing = self.grid.spacing
        return {
            "diffusion": lambda: torch.stack([a * laplacian(u, spacing), b * laplacian(v, spacing)]),
            "reaction": lambda: torch.stack([u - u * u * u - v - k, u - v]),
        }

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform(size=(n, *self.state_shape)))

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Means over the grid of u and v, each ``(...)``."""
        mean = x.mean((-2, -1))
        return {"mean u": mean[..., 0], "mean v": mean[..., 1]}


_UNSEEN = tuple(product((1.5e-3, 2.5e-3), (7.5e-3,), (0.025, 0.075)))
_BOX = Box((1e-3, 5e-3, 5e-3), (2e-3, 1e-2, 0.05))

#: seen, unseen, budget, source
_SPLITS = {
    "aphynity": (
        ((1e-3, 5e-3, 5e-3),),
        _UNSEEN,
        Budget(train=1600, test=320, valid=32),
        "Yin et al. (2021), APHYNITY: 25 frames as in the paper (30 in the public code). It has one environment; the "
        "unseen ones here are ours.",
    ),
    "ours": (
        tuple(product((1e-3, 2e-3), (5e-3, 1e-2), (5e-3, 0.05))),
        _UNSEEN,
        Budget(train=8, test=32),
        "Ours: environments around the published one.",
    ),
}


@register("reaction_diffusion")
def reaction_diffusion(
    split: Literal["aphynity", "ours"] = "aphynity", size: int = 32, frames: int = 25
) -> EnvironmentFamily:
    """Reaction-diffusion, frames 0.1 apart.

    Args:
        split: ``"aphynity"`` (the one published environment, 1600 training trajectories) or ``"ours"`` (8 seen, 4
            unseen environments in a, b and k).
        size: cells a side; 32 as published.
        frames: 25 as in the paper; the public code has 30.
    """
    seen, unseen, budget, source = choose_split("reaction_diffusion", split, _SPLITS)
    return EnvironmentFamily(
        name="reaction_diffusion",
        split=split,
        system=ReactionDiffusion(size),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * 0.1,
        budget=budget,
        distribution=_BOX,
        source=source,
        arguments={"split": split, "size": size, "frames": frames},
    )

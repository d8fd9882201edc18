"""Gray-Scott: two reacting and diffusing chemicals that form patterns."""

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
from leads.numerics.stencils import laplacian_nine


class GrayScott(GridSystem):
    """Concentrations u and v on a periodic square grid:

        u_t = D_u lap(u) - u v^2 + F (1 - u)
        v_t = D_v lap(v) + u v^2 - (F + k) v

    D_u = 0.2097, D_v = 0.105, cells of size 1; the Laplacian is the isotropic nine-point stencil.
    State ``(2, size, size)``. Initial states: u = 0.95, v = 0.05 with three square blocks of u = 0, v = 1.
    Source: Pearson (1993); set-up of Yin et al., LEADS (2021) and Kirchmeyer et al., CoDA (2022).
    """

    channels = (Channel("u", "1", "concentration of u"), Channel("v", "1", "concentration of v"))
    parameters = (
        Parameter("F", "1/time", 0.0, 0.1, "feed rate"),
        Parameter("k", "1/time", 0.0, 0.1, "kill rate"),
    )
    terms = (Term("diffusion"), Term("reaction"), Term("feed", ("F",)), Term("kill", ("k",)))
    diffusion = (0.2097, 0.105)

    def __init__(self, size: int = 32) -> None:
        size = whole("size", size, 10, "the initial blocks are size / 10 wide")
        self.grid = Grid((size, size), (1.0, 1.0), ("y", "x"))

    def rates(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        u, v = x
        feed, kill = p
        reaction = u * v * v
        du = self.diffusion[0] * laplacian_nine(u, 1.0) - reaction + feed * (1 - u)
        dv = self.diffusion[1] * laplacian_nine(v, 1.0) + reaction - (feed + kill) * v
        return torch.stack([du, dv])

    def parts(self, t: Tensor, x: Tensor, p: Tensor) -> dict[str, Callable[[], Tensor]]:
        """``diffusion``, ``reaction`` (-u v^2, u v^2), ``feed`` (F (1 - u), -F v) and ``kill`` (0, -k v)."""
        del t
        u, v = x
        feed, kill = p
        du, dv = self.diffusion
        return {
            "diffusion": lambda: torch.stack([du * laplacian_nine(u, 1.0), dv * laplacian_nine(v, 1.0)]),
            "reaction": lambda: torch.stack([-u * v * v, u * v * v]),
            "feed": lambda: torch.stack([feed * (1 - u), -feed * v]),
            "kill": lambda: torch.stack([torch.zeros_like(u), -kill * v]),
        }

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        assert self.grid is not None
        size = self.grid.shape[0]
        side = size // 10
        x = torch.empty(n, 2, size, size, dtype=torch.float64)
        x[:, 0], x[:, 1] = 0.95, 0.05
        for state in x:
            for _ in range(3):
                i, j = generator.randint(0, size - side, size=2)
                state[0, i : i + side, j : j + side] = 0.0
                state[1, i : i + side, j : j + side] = 1.0
        return x

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Means over the grid, each ``(...)``: of u, of v, and of the ``reaction`` u v^2.

        They obey ``d<u>/dt = F (1 - <u>) - <u v^2>`` and ``d<v>/dt = <u v^2> - (F + k) <v>``, for diffusion moves mass
        only.
        """
        del p
        u, v = x.unbind(-3)
        mean = lambda field: field.mean((-2, -1))  # noqa: E731
        return {"mean u": mean(u), "mean v": mean(v), "reaction": mean(u * v * v)}


_UNSEEN = tuple(product((0.033, 0.036), (0.059, 0.061)))
_CODA = tuple(product((0.03, 0.039), (0.058, 0.062)))
_GEPS_UNSEEN = ((0.042, 0.057), (0.033, 0.057), (0.033, 0.06), (0.042, 0.06))
_BOX = Box((0.03, 0.058), (0.039, 0.062), stretch=1.4)
_WIDE_BOX = Box((0.03, 0.058), (0.04, 0.062), stretch=1.4)


def _pairs(low: tuple[float, float], high: tuple[float, float]) -> list[list[float]]:
    """One draw of 100 environments from a published range; the published code's own draw is not stored anywhere."""
    return np.random.RandomState(0).uniform(low, high, size=(100, 2)).tolist()


_MANY = _pairs((0.03, 0.058), (0.04, 0.062))

#: seen, unseen, budget, range of fresh environments, frame distance, training frames, test frames, source
_SPLITS = {
    "coda": (
        _CODA,
        _UNSEEN,
        Budget(train=1, test=32, valid=2),
        _BOX,
        40.0,
        10,
        10,
        "Kirchmeyer et al. (2022), CoDA: public code.",
    ),
    "leads": (
        ((0.037, 0.060), (0.030, 0.062), (0.039, 0.058)),
        _UNSEEN,
        Budget(train=1, test=32, valid=2),
        _BOX,
        40.0,
        10,
        10,
        "Yin et al. (2021), LEADS: public code. It adapts to no new environment; the unseen ones here are CoDA's.",
    ),
    "ncf": (
        _CODA,
        _UNSEEN,
        Budget(train=1, test=32, valid=2),
        _BOX,
        40.0,
        10,
        10,
        "Nzoyem et al. (2025), Neural Context Flows: public code; environments and budget as CoDA's.",
    ),
    "geps": (
        _CODA,
        _GEPS_UNSEEN,
        Budget(train=1, test=32, valid=2),
        _BOX,
        10.0,
        20,
        40,
        "Koupai et al. (2024), GEPS: public code (baseline setting); tests run to twice the training horizon.",
    ),
    "geps_scaling": (
        _CODA,
        _GEPS_UNSEEN,
        Budget(train=256, test=32),
        _BOX,
        10.0,
        20,
        40,
        "Koupai et al. (2024), GEPS: public code (study of data scaling, 256 trajectories an environment); tests run to "
        "twice the training horizon.",
    ),
    "geps_multienv": (
        _MANY,
        _GEPS_UNSEEN,
        Budget(train=1, test=32, valid=2),
        _WIDE_BOX,
        10.0,
        20,
        40,
        "Koupai et al. (2024), GEPS: public code; F in [0.03, 0.04] and k in [0.058, 0.062], 100 pairs. The pairs are our "
        "draw (seed 0), the unseen environments those of GEPS' small set.",
    ),
    "geps_multienv_early": (
        _pairs((0.034, 0.0575), (0.041, 0.0615)),
        _GEPS_UNSEEN,
        Budget(train=1, test=32, valid=2),
        Box((0.034, 0.0575), (0.041, 0.0615), stretch=1.4),
        10.0,
        20,
        40,
        "Koupai et al. (2024), GEPS: an earlier commit of the public code; F in [0.034, 0.041] and k in [0.0575, 0.0615]. The "
        "100 pairs are our draw (seed 0), the unseen environments those of GEPS' small set.",
    ),
}


@register("gray_scott")
def gray_scott(
    split: Literal["coda", "leads", "ncf", "geps", "geps_scaling", "geps_multienv", "geps_multienv_early"] = "coda",
    size: int = 32,
) -> EnvironmentFamily:
    """Gray-Scott on a periodic grid, 10 frames 40 apart (GEPS: 20 frames 10 apart, tested on 40).

    Args:
        split: ``"coda"`` (4 seen, 4 unseen environments in F and k), ``"ncf"`` (the same), ``"leads"`` (3 seen),
            ``"geps"`` (4 seen, 4 unseen further out), ``"geps_scaling"`` (the same, 256 training trajectories),
            ``"geps_multienv"`` (100 seen, the same 4 unseen) or ``"geps_multienv_early"`` (100 seen of an earlier range).
        size: cells a side; 32 as published.
    """
    seen, unseen, budget, box, dt, frames, test_frames, source = choose_split("gray_scott", split, _SPLITS)
    return EnvironmentFamily(
        name="gray_scott",
        split=split,
        system=GrayScott(size),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * dt,
        test_times=torch.arange(test_frames, dtype=torch.float64) * dt,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split, "size": size},
    )

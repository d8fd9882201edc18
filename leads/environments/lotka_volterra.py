"""Lotka-Volterra: a prey and its predator."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System


class LotkaVolterra(System):
    """Prey x and predator y:

        dx/dt = alpha x - beta x y
        dy/dt = delta x y - gamma y

    State ``(2,)``; both positive. Initial states are uniform in [1, 2]^2. Conserved along solutions:
    ``V = delta x - gamma log x + beta y - alpha log y``.
    Source: Lotka (1925), Volterra (1926); set-up of Yin et al., LEADS (2021) and Kirchmeyer et al., CoDA (2022).
    """

    channels = (Channel("prey", "1", "prey density"), Channel("predator", "1", "predator density"))
    parameters = (
        Parameter("alpha", "1/time", 0.01, 3.0, "prey growth rate"),
        Parameter("beta", "1/time", 0.01, 3.0, "predation rate"),
        Parameter("gamma", "1/time", 0.01, 3.0, "predator death rate"),
        Parameter("delta", "1/time", 0.01, 3.0, "predator growth per prey"),
    )

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        prey, predator = x.unbind(-1)
        alpha, beta, gamma, delta = p.unbind(-1)
        meeting = prey * predator
        return torch.stack([alpha * prey - beta * meeting, delta * meeting - gamma * predator], -1)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform(1.0, 2.0, size=(n, 2)))

    def invariant(self, x: Tensor, p: Tensor) -> Tensor:
        prey, predator = x.unbind(-1)
        alpha, beta, gamma, delta = p.unbind(-1)
        return delta * prey - gamma * prey.log() + beta * predator - alpha * predator.log()


def _grid(values: tuple[float, ...]) -> list[tuple[float, ...]]:
    """alpha = gamma = 0.5 and (beta, delta) on the square of ``values``."""
    return [(0.5, b, 0.5, d) for b, d in product(values, values)]


_LEADS_RATES = ((0.5, 0.5), (0.25, 0.5), (0.75, 0.5), (1, 0.5), (0.5, 0.25), (0.5, 0.75), (0.5, 1), (0.25, 0.25), (0.75, 0.75), (1, 1))  # fmt: skip

#: seen, unseen, budget, number of test frames, range of fresh environments, source
_SPLITS = {
    "coda": (
        _grid((0.5, 0.75, 1.0)),
        _grid((0.625, 1.125)),
        Budget(train=4, test=32),
        20,
        Box((0.5, 0.5, 0.5, 0.5), (0.5, 1.0, 0.5, 1.0)),
        "Kirchmeyer et al. (2022), CoDA: public code.",
    ),
    "leads": (
        [(a, 0.5, g, 0.5) for a, g in _LEADS_RATES],
        [(a, 0.5, g, 0.5) for a, g in product((0.375, 0.875), (0.375, 0.875))],
        Budget(train=1, test=32),
        20,
        Box((0.25, 0.5, 0.25, 0.5), (1.0, 0.5, 1.0, 0.5)),
        "Yin et al. (2021), LEADS: public code. It adapts to no new environment; the unseen ones here are ours.",
    ),
    "geps": (
        [row for row in _grid((0.5, 0.75, 1.0)) if row != (0.5, 1.0, 0.5, 1.0)],
        _grid((0.3, 1.125)),
        Budget(train=4, test=32),
        40,
        Box((0.5, 0.5, 0.5, 0.5), (0.5, 1.0, 0.5, 1.0)),
        "Koupai et al. (2024), GEPS: public code's history (8 environments); tests run to twice the training horizon.",
    ),
}


@register("lotka_volterra")
def lotka_volterra(split: Literal["coda", "leads", "geps"] = "coda") -> EnvironmentFamily:
    """Lotka-Volterra on 20 frames, dt = 0.5 (the published horizon T = 10 is not itself a frame).

    Args:
        split: ``"coda"`` (9 seen, 4 unseen environments in beta and delta), ``"leads"`` (10 seen in alpha and gamma)
            or ``"geps"`` (8 seen, 4 unseen further out, test horizon twice as long).
    """
    seen, unseen, budget, test_frames, box, source = choose_split("lotka_volterra", split, _SPLITS)
    return EnvironmentFamily(
        name="lotka_volterra",
        split=split,
        system=LotkaVolterra(),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(20, dtype=torch.float64) * 0.5,
        test_times=torch.arange(test_frames, dtype=torch.float64) * 0.5,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split},
    )

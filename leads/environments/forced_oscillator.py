"""A damped oscillator under periodic forcing: environments differ in the shape of the forcing."""

from __future__ import annotations

from math import ceil, pi
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System


def forcing_basis(t: Tensor) -> tuple[Tensor, ...]:
    """The forcings at the times ``t``, each of its shape, in the order of :data:`FORCINGS`."""
    sine, cosine = t.sin(), t.cos()
    both = sine + cosine
    return (sine, cosine, cosine.exp(), cosine.sin(), both.sin(), both.sinh(), sine.sinh(), cosine.sinh())


#: Names of the forcings: sin t, cos t, exp(cos t), sin(cos t), sin(sin t + cos t), sinh(sin t + cos t), sinh(sin t),
#: sinh(cos t).
FORCINGS = ("sin", "cos", "exp_cos", "sin_cos", "sin_sum", "sinh_sum", "sinh_sin", "sinh_cos")


class ForcedOscillator(System):
    """Position x and velocity v of a unit mass on a damped spring:

        dx/dt = v
        dv/dt = -alpha v - omega0^2 x + sum_i w_i F_i(t)

    with the forcings F of period 2 pi: sin t, cos t, exp(cos t), sin(cos t), sin(sin t + cos t), sinh(sin t + cos t),
    sinh(sin t) and sinh(cos t). The forcing of an environment is given by the weights w, in which everything is linear
    and differentiable: a published environment has one weight of 1 (two for sin t + cos t) and else zeros.
    State ``(2,)``, without units. Default alpha = 0.2, omega0 = 1. Initial states are uniform in [1, 2]^2.

    Exact solution: a decaying oscillation plus the response to each Fourier component f_n exp(i n t) of the forcing,
    f_n exp(i n t) / (omega0^2 - n^2 + i n alpha).
    Source: Nzoyem et al., Neural Context Flows (2025).
    """

    channels = (Channel("x", "1", "position"), Channel("v", "1", "velocity"))
    parameters = (
        Parameter("alpha", "1", 0.0, 5.0, "damping"),
        Parameter("omega0", "1", 0.0, 10.0, "natural frequency"),
        *(Parameter(f"w_{name}", "1", -10.0, 10.0, f"weight of the forcing {name}") for name in FORCINGS),
    )
    rtol, atol = 1e-12, 1e-14

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        position, velocity = x.unbind(-1)
        alpha, omega0, *weights = p.unbind(-1)
        force = sum(w * f.to(x.dtype) for w, f in zip(weights, forcing_basis(t), strict=True))
        return torch.stack([velocity, force - alpha * velocity - omega0 * omega0 * position], -1)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform(1.0, 2.0, size=(n, 2)))

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``energy``, (v^2 + omega0^2 x^2) / 2: conserved without damping and forcing."""
        position, velocity = x.unbind(-1)
        omega0 = p[..., 1]
        return {"energy": 0.5 * (velocity * velocity + (omega0 * position) ** 2)}


def _row(*forcings: str) -> tuple[float, ...]:
    return (0.2, 1.0, *(float(name in forcings) for name in FORCINGS))


#: seen, unseen, budget, source
_SPLITS = {
    "ncf": (
        (
            _row("sin"),
            _row("cos"),
            _row("sin", "cos"),
            _row("exp_cos"),
            _row("sin_cos"),
            _row("sin_sum"),
            _row("sinh_sum"),
            _row("sinh_sin"),
        ),
        (_row("sinh_cos"),),
        Budget(train=4, test=32, adapt=12),
        "Nzoyem et al. (2025), Neural Context Flows: public code. It has no adaptation test set; its size here is ours.",
    ),
}


@register("forced_oscillator")
def forced_oscillator(split: Literal["ncf"] = "ncf") -> EnvironmentFamily:
    """Forced oscillator on 189 frames, dt = 6 pi / 189 (the published horizon T = 6 pi is not itself a frame).

    Args:
        split: ``"ncf"``: 8 seen environments, one a forcing, and the unseen forcing sinh(cos t) with 12 trajectories to
            adapt to.
    """
    seen, unseen, budget, source = choose_split("forced_oscillator", split, _SPLITS)
    frames = ceil(6 * pi / 0.1)
    return EnvironmentFamily(
        name="forced_oscillator",
        split=split,
        system=ForcedOscillator(),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * (6 * pi / frames),
        budget=budget,
        distribution=Box((0.2, 1.0) + (0.0,) * len(FORCINGS), (0.2, 1.0) + (1.0,) * len(FORCINGS)),
        source=source,
        arguments={"split": split},
    )

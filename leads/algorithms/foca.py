"""FOCA: contexts fitted against a moving average of the model."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.concat import Concat
from leads.algorithms.build import register
from leads.contexts import MovingAverage
from leads.dynamics import DecomposedDynamics


@register("foca")
def foca(
    make_backbone: MakeBackbone,
    environments: int,
    dim: int = 2,
    steps: int = 5,
    inner_lr: float = 1.0,
    rate: float = 0.1,
    new_steps: int = 100,
    **integrator: Any,
) -> DecomposedDynamics:
    """``min_theta sum_e L_e^query(theta, c_e)`` with ``c_e`` from ``steps`` gradient steps on ``L_e^support(theta_bar, c)``
    from zero, taken as a constant; ``theta_bar <- (1 - rate) theta_bar + rate theta`` in every step.

    The context enters as input channels, and no second derivative is needed. Steps, rates and the 100 steps in a new
    environment are those of GEPS' comparison (public code), as is the size of the code.

    Source: Park et al., "Generalizing to new dynamical systems through first-order context-based adaptation", 2023
    (submitted to ICLR 2023).
    """
    del environments
    adapter = Concat(make_backbone, dim)
    return DecomposedDynamics(adapter, MovingAverage(adapter, steps, inner_lr, rate, new_steps), **integrator)

"""One model for all environments; each new one trains it further."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.layers import LayerChoice
from leads.adapters.weight_delta import WeightDelta
from leads.algorithms.build import register
from leads.contexts import InnerLoop
from leads.dynamics import DecomposedDynamics


@register("fine_tuning")
def fine_tuning(
    make_backbone: MakeBackbone, environments: int, only: LayerChoice = "all", **integrator: Any
) -> DecomposedDynamics:
    """``min_theta sum_e L_e(theta)``; a new environment then minimises its ``L(theta + delta)`` over delta from zero.

    An inner loop of no steps: training is that of one model for all, and ``adapt`` moves the weights (all, or those of
    the layers ``only``) by its gradient solver.

    Source: the fine-tuned baseline ("FT") of Yin et al. (2021), LEADS.
    """
    del environments
    adapter = WeightDelta(make_backbone, only)
    return DecomposedDynamics(adapter, InnerLoop(adapter, steps=0), **integrator)

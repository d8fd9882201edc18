"""ANIL: as MAML, but only the last layer takes the inner steps."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.layers import LayerChoice
from leads.adapters.weight_delta import WeightDelta
from leads.algorithms.build import register
from leads.contexts import InnerLoop
from leads.dynamics import DecomposedDynamics


@register("anil")
def anil(
    make_backbone: MakeBackbone,
    environments: int,
    steps: int = 1,
    inner_lr: float = 0.01,
    only: LayerChoice = "last",
    first_order: bool = False,
    **integrator: Any,
) -> DecomposedDynamics:
    """``min_theta sum_e L_e^query(body, head_e)``, ``head_e = head - inner_lr grad_head L_e^support``, ``steps`` times.

    The body is shared and the head is the last layer, unless ``only`` names another; ``steps`` and ``inner_lr`` are
    MAML's of its regression experiment. A new environment takes the same steps on its head.

    Source: Raghu et al., "Rapid learning or feature reuse? Towards understanding the effectiveness of MAML", ICLR 2020,
    section 4.
    """
    del environments
    adapter = WeightDelta(make_backbone, only)
    return DecomposedDynamics(adapter, InnerLoop(adapter, steps, inner_lr, first_order), **integrator)

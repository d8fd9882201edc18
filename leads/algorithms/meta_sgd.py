"""Meta-SGD: MAML with a learned rate for every weight."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.weight_delta import WeightDelta
from leads.algorithms.build import register
from leads.contexts import InnerLoop
from leads.dynamics import DecomposedDynamics


@register("meta_sgd")
def meta_sgd(
    make_backbone: MakeBackbone,
    environments: int,
    steps: int = 1,
    inner_lr: float = 0.01,
    first_order: bool = False,
    **integrator: Any,
) -> DecomposedDynamics:
    """``min_{theta, a} sum_e L_e^query(theta - a * grad L_e^support(theta))`` with a vector ``a`` of learned rates.

    All rates start at ``inner_lr``; the published ones are drawn from [0.005, 0.1]. They are trained at
    ``fit(context_lr=...)`` where that is given. A new environment takes the same step with the rates as trained.

    Source: Li et al., "Meta-SGD: learning to learn quickly for few-shot learning", 2017, section 3.
    """
    del environments
    adapter = WeightDelta(make_backbone)
    source = InnerLoop(adapter, steps, inner_lr, first_order, learn_rates=True)
    return DecomposedDynamics(adapter, source, **integrator)

"""MAML: shared weights from which a few gradient steps lead to each environment's."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.weight_delta import WeightDelta
from leads.algorithms.build import register
from leads.contexts import InnerLoop
from leads.dynamics import DecomposedDynamics


@register("maml")
def maml(
    make_backbone: MakeBackbone,
    environments: int,
    steps: int = 1,
    inner_lr: float = 0.01,
    first_order: bool = False,
    **integrator: Any,
) -> DecomposedDynamics:
    """``min_theta sum_e L_e^query(theta_e)``, ``theta_e = theta - inner_lr grad L_e^support(theta)``, ``steps`` times.

    Defaults are those of its regression experiment (one step of 0.01). ``first_order`` drops the second derivatives
    (its section 5.2); it diverged at inner rates that second order stood. A new environment takes the same steps.
    ``fit(support=...)`` says how many trajectories are support.

    Source: Finn et al., "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017, eq. 1 and
    Algorithm 1.
    """
    del environments
    adapter = WeightDelta(make_backbone)
    return DecomposedDynamics(adapter, InnerLoop(adapter, steps, inner_lr, first_order), **integrator)

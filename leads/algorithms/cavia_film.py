"""CAVIA with the context as gain and shift of the hidden layers."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.modulation import Modulation
from leads.algorithms.build import register
from leads.contexts import InnerLoop
from leads.dynamics import DecomposedDynamics


@register("cavia_film")
def cavia_film(
    make_backbone: MakeBackbone,
    environments: int,
    dim: int = 2,
    steps: int = 5,
    inner_lr: float = 0.1,
    first_order: bool = False,
    **integrator: Any,
) -> DecomposedDynamics:
    """``min_theta sum_e L_e^query(theta, phi_e)``, ``phi_e = - inner_lr grad_phi L_e^support(theta, phi)``, ``steps`` times.

    The context phi starts at zero and sets gain and shift of every hidden layer by a linear map. Size, steps and rate
    are as for the concatenated variant. A new environment takes the same steps.

    Source: Zintgraf et al., "Fast context adaptation via meta-learning", ICML 2019, section 3.
    """
    del environments
    adapter = Modulation(make_backbone, dim)
    return DecomposedDynamics(adapter, InnerLoop(adapter, steps, inner_lr, first_order), **integrator)

"""A learned code per environment, as gain and shift of the hidden layers."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.modulation import Modulation
from leads.algorithms.build import register
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


@register("film_codes")
def film_codes(
    make_backbone: MakeBackbone, environments: int, dim: int = 2, context_penalty: float = 0.0, **integrator: Any
) -> DecomposedDynamics:
    """``min_{theta, c} sum_e [ L_e(theta, c_e) + context_penalty |c_e|^2 ]`` with FiLM layers driven by the code.

    Codes start at zero and are trained together with the weights. A new environment fits its code from zero.

    Source: the layers are those of Perez et al., "FiLM: visual reasoning with a general conditioning layer", AAAI 2018,
    eq. 1-2; codes without encoder as in Park et al., "DeepSDF", CVPR 2019, eq. 9-10.
    """
    adapter = Modulation(make_backbone, dim, code=context_penalty)
    return DecomposedDynamics(adapter, Table(adapter, environments), **integrator)

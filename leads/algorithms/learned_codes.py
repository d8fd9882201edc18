"""A learned code per environment, as further inputs."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.concat import Concat
from leads.algorithms.build import register
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


@register("learned_codes")
def learned_codes(
    make_backbone: MakeBackbone, environments: int, dim: int = 2, context_penalty: float = 0.0, **integrator: Any
) -> DecomposedDynamics:
    """``min_{theta, c} sum_e [ L_e(theta, c_e) + context_penalty |c_e|^2 ]`` with the code as input channels.

    Codes start at zero and are trained together with the weights. A new environment fits its code from zero.

    Source: the auto-decoder of Park et al., "DeepSDF", CVPR 2019, eq. 9-10, with f of a state and a code.
    """
    adapter = Concat(make_backbone, dim, code=context_penalty)
    return DecomposedDynamics(adapter, Table(adapter, environments), **integrator)

"""CAMEL: fields weighed by a context that a linear solve finds."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.linear_field import LinearField
from leads.algorithms.build import register
from leads.contexts import Ridge
from leads.dynamics import DecomposedDynamics


@register("camel")
def camel(
    make_backbone: MakeBackbone,
    environments: int,
    dim: int = 2,
    ridge: float = 1e-7,
    derivative: str = "spline",
    steps: int = 0,
    first_order: bool = False,
    **integrator: Any,
) -> DecomposedDynamics:
    """``dx/dt = c(x) + sum_k w_k V_k(x)``, ``min_{c, V} sum_e L_e(c, V, w_e)``,
    ``w_e = argmin_w sum |dx/dt - c(x) - sum_k w_k V_k(x)|^2 + ridge |w|^2`` over the data's frames.

    The paper regresses values; here the inner problem matches the derivative of the data in time (see
    :class:`leads.contexts.Ridge`, where ``steps`` adds Gauss-Newton steps on rollouts), and L is the loss of rollouts.
    Physical parameters that enter the equations linearly are a linear map of w, so ``dim`` should be their number. A new
    environment takes one linear solve. ``ridge`` is that of the public code.

    Source: Blanke and Lelarge, "Interpretable meta-learning of physical systems", ICLR 2024.
    """
    del environments
    adapter = LinearField(make_backbone, dim)
    return DecomposedDynamics(adapter, Ridge(adapter, ridge, derivative, steps, first_order), **integrator)

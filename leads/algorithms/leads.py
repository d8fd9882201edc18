"""LEADS: a shared field plus a small one per environment."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.additive_field import AdditiveField
from leads.algorithms.build import register
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


@register("leads")
def leads(
    make_backbone: MakeBackbone, environments: int, weight: float = 2e-4, alpha: float = 1e-2, **integrator: Any
) -> DecomposedDynamics:
    """``dx/dt = f(x) + g_e(x)``, minimising ``L + weight sum_e [ mean(|g_e| / |x|)^2 + alpha sum_W sigma_max(W)^2 ]``.

    Published (weight = 1 / lambda, alpha): Lotka-Volterra (1/5e3, 1e-2), Gray-Scott (1/1e3, 1e-2), Navier-Stokes
    (1/1e5, 1e-4). A new environment keeps f and fits a g of its own.

    Source: Yin et al., "LEADS: learning dynamical systems that generalize across environments", NeurIPS 2021, eq. 2.
    """
    adapter = AdditiveField(make_backbone, size=weight, smoothness=weight * alpha)
    return DecomposedDynamics(adapter, Table(adapter, environments), **integrator)

"""Empirical risk minimisation: one model for all environments."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.shared import Shared
from leads.algorithms.build import register
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


@register("erm")
def erm(make_backbone: MakeBackbone, environments: int, **integrator: Any) -> DecomposedDynamics:
    """``min_theta sum_e L_e(theta)``; nothing adapts to a new environment. The papers' "one-for-all"."""
    adapter = Shared(make_backbone)
    return DecomposedDynamics(adapter, Table(adapter, environments), **integrator)

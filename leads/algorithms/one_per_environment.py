"""One model per environment, trained on nothing but its own data."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.separate import Separate
from leads.algorithms.build import register
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


@register("one_per_environment")
def one_per_environment(make_backbone: MakeBackbone, environments: int, **integrator: Any) -> DecomposedDynamics:
    """``min_theta_e L_e(theta_e)`` for each e; a new environment trains a fresh network. The papers' "one-per-env"."""
    adapter = Separate(make_backbone)
    return DecomposedDynamics(adapter, Table(adapter, environments), **integrator)

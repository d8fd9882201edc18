"""A model whose posterior is known: dx/dt = c, so x(t) = x0 + c t is linear in the context."""

from __future__ import annotations

from typing import Any

import torch

from leads.adapters import Adapter, Context
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


class Drift(Adapter):
    """The context is the velocity of a state of two channels."""

    def init_context(self) -> Context:
        return {"velocity": torch.zeros(2, dtype=torch.float64)}

    def prepare(self, context: Context) -> torch.Tensor:
        return context["velocity"]

    def forward(self, t: torch.Tensor, x: torch.Tensor, prepared: Any) -> torch.Tensor:
        return prepared.expand_as(x)


def drift(environments: int = 3) -> DecomposedDynamics:
    adapter = Drift()
    return DecomposedDynamics(adapter, Table(adapter, environments), recipe={"state_shape": [2]})

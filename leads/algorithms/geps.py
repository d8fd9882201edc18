"""GEPS: low-rank shifts of every layer, scaled by a context."""

from __future__ import annotations

from typing import Any, Literal

from leads.adapters import MakeBackbone
from leads.adapters.low_rank import LowRank
from leads.algorithms.build import register
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


@register("geps")
def geps(
    make_backbone: MakeBackbone,
    environments: int,
    dim: int = 8,
    scale: float = 1.0,
    context_penalty: float = 0.0,
    loss: Literal["mse", "relative_l2"] = "relative_l2",
    **integrator: Any,
) -> DecomposedDynamics:
    """``W_e = W + scale A diag(c_e) B`` in every layer, minimising the relative L2 error of the trajectories.

    A new environment fits its code from the mean of the seen ones.

    Source: Koupai et al., "GEPS: boosting generalization in parametric PDE neural solvers through adaptive
    conditioning", NeurIPS 2024.
    """
    adapter = LowRank(make_backbone, dim, scale=scale, code=context_penalty)
    return DecomposedDynamics(adapter, Table(adapter, environments, start="mean"), loss=loss, **integrator)

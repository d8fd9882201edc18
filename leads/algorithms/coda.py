"""CoDA: weights generated linearly from a low-dimensional context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from leads.adapters import MakeBackbone
from leads.adapters.linear_hyper import LinearHyper
from leads.algorithms.build import register
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


@register("coda")
def coda(
    make_backbone: MakeBackbone,
    environments: int,
    dim: int = 2,
    only: Literal["all", "first", "last"] | Sequence[str] = "all",
    context_penalty: float = 1e-4,
    l1: float = 1e-6,
    l2: float = 0.0,
    spread: float = 1.0,
    **integrator: Any,
) -> DecomposedDynamics:
    """``theta_e = theta + W xi_e``, minimising ``L + context_penalty sum_e |xi_e|^2 + l1 sum_rows |W_row| + l2 |W|^2``.

    Published defaults: dim 2, context_penalty 1e-4, l1 1e-6 (its "l1"; "l2" uses the last term instead). ``only`` is
    the layer mask of its ablation (all, first, last). A new environment fits its code from zero.

    Source: Kirchmeyer et al., "Generalizing to new physical systems via context-informed dynamics model", ICML 2022.
    """
    adapter = LinearHyper(make_backbone, dim, only=only, code=context_penalty, row_norms=l1, squares=l2, spread=spread)
    return DecomposedDynamics(adapter, Table(adapter, environments), **integrator)

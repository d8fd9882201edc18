"""Neural Context Flows: a field expanded around neighbouring contexts."""

from __future__ import annotations

from typing import Any, Literal

from leads.adapters import MakeBackbone
from leads.adapters.context_net import ContextNet
from leads.adapters.taylor import Taylor
from leads.algorithms.build import register
from leads.contexts import NeighbourTable
from leads.dynamics import DecomposedDynamics


@register("ncf")
def ncf(
    make_backbone: MakeBackbone,
    environments: int,
    order: int = 2,
    dim: int = 1024,
    width: int = 64,
    factor: float = 1.0,
    pool: Literal["random_all", "nearest", "smallest"] = "random_all",
    pool_size: int = 0,
    context_penalty: float = 1e-3,
    alternate: int = 1,
    **integrator: Any,
) -> DecomposedDynamics:
    """``min L + context_penalty mean |xi|`` with the field of each environment expanded in its context, to order 1 or 2,
    around that of another environment; shared weights and contexts are updated in turn, ``alternate`` steps each.

    The field is the three-part network (:class:`leads.adapters.context_net.ContextNet`), which takes the place of a
    backbone: only the state's shape is taken from the one that is named. One neighbour is drawn per step where the paper
    averages over a pool (the mean is the same). Published for Lotka-Volterra: dim 1024, pool of 6; glycolytic: dim 256,
    width 122, pool of 4; Gray-Scott: dim 256, factor 1e-2, pool of 3. The paper's proximal alternating minimisation is
    ``fit(alternate=10, proximal=100)``: blocks of 10 to 30 steps, beta = 100 (10 for Gray-Scott, Navier-Stokes and the
    Brusselator). A new environment fits its context from zero, without expansion.

    Source: Nzoyem et al., "Neural Context Flows for meta-learning of dynamical systems", ICLR 2025.
    """
    adapter = Taylor(ContextNet(make_backbone, dim, width, factor=factor), order, context_penalty)
    source = NeighbourTable(adapter, environments, pool=pool, size=pool_size, alternate=alternate)
    return DecomposedDynamics(adapter, source, **integrator)

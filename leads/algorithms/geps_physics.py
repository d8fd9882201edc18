"""Physics-aware GEPS: low-rank shifts of the network, and of the physical parameters beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from leads.adapters import MakeBackbone
from leads.adapters.hybrid import hybrid
from leads.algorithms.build import register
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


@register("geps_physics")
def geps_physics(
    make_backbone: MakeBackbone,
    environments: int,
    physics: Mapping[str, Any] | None = None,
    dim: int = 8,
    scale: float = 1.0,
    context_penalty: float = 0.0,
    mode: Literal["additive", "serial", "residual"] = "additive",
    loss: Literal["mse", "relative_l2"] = "relative_l2",
    **integrator: Any,
) -> DecomposedDynamics:
    """``dx/dt`` = h(x; p_e) and N(x; theta_e) put together by ``mode``; ``W_e = W + scale A diag(c_e) B``, and the
    physical parameters called ``coded`` follow the same code, ``p_e = p + W_p c_e``.

    ``physics``: see :func:`leads.adapters.physics.physics_of`, e.g. ``{"family": "pendulum", "terms": ["oscillation"],
    "coded": {"omega0": 0.6}}``; without it this is plain GEPS. The linear rule holds for the free number behind an
    admissible value (see :class:`leads.adapters.physics.Physics`). A new environment fits its code from the mean of the
    seen ones.

    Source: Koupai et al., "GEPS: boosting generalization in parametric PDE neural solvers through adaptive
    conditioning", NeurIPS 2024.
    """
    known = None if physics is None else {**physics, "code": dim}
    settings = {"dim": dim, "scale": scale, "code": context_penalty}
    adapter = hybrid(make_backbone, known, "low_rank", settings, mode=mode)
    return DecomposedDynamics(adapter, Table(adapter, environments, start="mean"), loss=loss, **integrator)

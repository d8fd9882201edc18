"""APHYNITY: physics, and as small a network as fits the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from leads.adapters import MakeBackbone
from leads.adapters.hybrid import hybrid
from leads.algorithms.build import register
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics


@register("aphynity")
def aphynity(
    make_backbone: MakeBackbone,
    environments: int,
    physics: Mapping[str, Any] | None = None,
    network: bool = True,
    size: float = 1.0,
    normalised: bool = False,
    multiplier: float = 1.0,
    growth: float = 1e-3,
    ratio: float = 0.0,
    mode: Literal["additive", "residual"] = "additive",
    **integrator: Any,
) -> DecomposedDynamics:
    """``dx/dt = F_p(x; theta_p) + F_a(x)``: ``min |F_a|^2`` subject to fitting the trajectories.

    Minimises ``L + size |F_a|^2 / lambda``, the paper's ``lambda L + |F_a|^2`` divided by lambda, with
    ``lambda <- lambda + growth L`` after every step from ``lambda = multiplier``. The paper updates lambda (growth tau_2)
    once every N_iter steps, so growth = tau_2 / N_iter: reaction-diffusion 1e-3 / 1, wave 1e-3 / 3, pendulum 1 / 5. In
    fewer steps than the paper's 50,000 epochs lambda stays too small for the fit; ``ratio``, ours, multiplies it by
    ``1 + ratio`` after every step (see :class:`leads.adapters.hybrid.Hybrid`).

    ``physics`` (see :func:`leads.adapters.physics.physics_of`) says which: *incomplete* keeps some terms
    (``{"family": "pendulum", "arguments": {"split": "aphynity"}, "terms": ["oscillation"], "shared": {"omega0": 0.45}}``),
    *complete* all, *true* has its values fixed in place of shared, *none* (the default) leaves the network alone.
    ``network=False`` leaves the physics alone. ``own`` parameters, found for each environment, extend the method to many
    of them. ``normalised`` measures F_a relative to the state, as the public code does for the pendulum.

    Source: Yin et al., "Augmenting physical models with deep networks for complex dynamics forecasting", ICLR 2021.
    """
    adapter = hybrid(
        make_backbone,
        physics,
        "shared" if network else None,
        mode=mode,
        size=size if network else 0.0,
        normalised=normalised,
        start=multiplier,
        growth=growth,
        ratio=ratio,
    )
    return DecomposedDynamics(adapter, Table(adapter, environments), **integrator)

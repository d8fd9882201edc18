"""DynaInfer: environment labels unknown, inferred while training."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.linear_hyper import LinearHyper
from leads.algorithms.build import register
from leads.contexts import HiddenLabels
from leads.dynamics import DecomposedDynamics


@register("dynainfer")
def dynainfer(
    make_backbone: MakeBackbone,
    environments: int,
    assumed: int = 2,
    warmup: int = 100,
    every: int = 1,
    dim: int = 2,
    context_penalty: float = 1e-4,
    l1: float = 1e-6,
    spread: float = 1.0,
    seed: int = 0,
    **integrator: Any,
) -> DecomposedDynamics:
    """``min_{theta, xi, labels} sum_i L_i(theta + W xi_{label_i}) + context_penalty sum_k |xi_k|^2 + l1 sum_rows |W_row|``.

    ``environments`` counts the rows of the data: trajectories whose environment is unknown
    (:meth:`leads.trajectories.Trajectories.unlabelled`); ``assumed`` is the number K of environments among them. Labels
    follow the lowest error under weights held fixed, in turn with training, and end in ``model.source.labels``. The model
    is CoDA's, one of the two that the paper builds on; its penalty counts each environment once where these are of equal
    size. The warm-up is ours (see :class:`leads.contexts.HiddenLabels`). A new environment fits its code from that of the
    seen one that fits it best.

    Source: Liu et al., "Environment inference for learning generalizable dynamical system", NeurIPS 2025.
    """
    share = assumed / environments
    adapter = LinearHyper(make_backbone, dim, code=context_penalty * share, row_norms=l1, spread=spread)
    source = HiddenLabels(adapter, environments, assumed, warmup, every, seed)
    return DecomposedDynamics(adapter, source, **integrator)

"""DynaInfer with LEADS' model: environment labels unknown, a field added for each that is inferred."""

from __future__ import annotations

from typing import Any

from leads.adapters import MakeBackbone
from leads.adapters.additive_field import AdditiveField
from leads.algorithms.build import register
from leads.contexts import HiddenLabels
from leads.dynamics import DecomposedDynamics


@register("dynainfer_leads")
def dynainfer_leads(
    make_backbone: MakeBackbone,
    environments: int,
    assumed: int = 2,
    warmup: int = 100,
    every: int = 1,
    weight: float = 2e-4,
    alpha: float = 1e-2,
    seed: int = 0,
    **integrator: Any,
) -> DecomposedDynamics:
    """``min_{f, g, labels} sum_i L_i(f + g_{label_i}) + weight sum_k [ mean(|g_k| / |x|)^2 + alpha sum_W sigma_max(W)^2 ]``.

    ``environments`` counts the rows of the data, ``assumed`` the environments among them, as for the variant with CoDA's
    model; penalties are LEADS' and count each environment once where these are of equal size. Every row holds a network
    while training, so memory grows with their number. A new environment fits a g of its own from that of the seen one
    that fits it best.

    Source: Liu et al., "Environment inference for learning generalizable dynamical system", NeurIPS 2025.
    """
    share = assumed / environments
    adapter = AdditiveField(make_backbone, size=weight * share, smoothness=weight * alpha * share)
    return DecomposedDynamics(adapter, HiddenLabels(adapter, environments, assumed, warmup, every, seed), **integrator)

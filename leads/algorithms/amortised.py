"""Any adapter's contexts, read off a few frames by an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from leads.adapters import MakeBackbone, adapters
from leads.algorithms.build import call, register, state_shape_of
from leads.contexts import Encoder
from leads.dynamics import DecomposedDynamics


@register("amortised")
def amortised(
    make_backbone: MakeBackbone,
    environments: int,
    adapter: str = "linear_hyper",
    adapter_settings: Mapping[str, Any] | None = None,
    frames: int = 5,
    windows: int = 1,
    encoder_width: int = 64,
    encoder_depth: int = 2,
    network: Literal["auto", "mlp", "conv"] = "auto",
    loss: Literal["mse", "relative_l2"] = "mse",
    history: int = 1,
    **integrator: Any,
) -> DecomposedDynamics:
    """``min_{theta, phi} sum_e L_e(theta, c_e) + penalty(c_e)``, ``c_e = encoder_phi(first frames of the support)``.

    ``adapter`` is any registered one with a context: weights that move linearly with the code, at low rank, further
    inputs, ... ``frames`` and ``windows``: see :class:`leads.contexts.Encoder`. A new environment takes a forward pass;
    ``adapt(solver="levenberg_marquardt")`` goes on from there.

    Source: the pairs of the design's table that no paper has; the encoder as in Garnelo et al., "Conditional neural
    processes", ICML 2018.
    """
    del environments
    changed = call(adapters[adapter], f"adapter {adapter!r}", make_backbone, **(adapter_settings or {}))
    shape = state_shape_of(make_backbone, history)
    source = Encoder(changed, shape, frames, windows, encoder_width, encoder_depth, network)
    return DecomposedDynamics(changed, source, loss=loss, history=history, **integrator)

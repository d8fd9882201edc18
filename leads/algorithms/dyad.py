"""DyAd: an encoder infers the environment, a forecaster takes it as its style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from leads.adapters import MakeBackbone
from leads.adapters.linear_hyper import LinearHyper
from leads.adapters.modulation import Modulation
from leads.algorithms.build import register, state_shape_of
from leads.contexts import SupervisedEncoder
from leads.dynamics import DecomposedDynamics


@register("dyad")
def dyad(
    make_backbone: MakeBackbone,
    environments: int,
    dim: int = 512,
    frames: int = 5,
    windows: int = 1,
    encoder_width: int = 128,
    encoder_depth: int = 4,
    network: Literal["auto", "mlp", "conv"] = "auto",
    label: str | Sequence[str] = "varying",
    label_weight: float = 1.0,
    invariance: float = 1.0,
    size: float = 1.0,
    samples: int = 8,
    stages: int = 2,
    pads: bool = True,
    history: int = 1,
    **integrator: Any,
) -> DecomposedDynamics:
    """First the encoder z: ``min sum_e mean_i [ |c(z_i) - c_e|^2 + |z_{i+1} - z_i|^2 / dim + (|z_i|^2 / dim - 1)^2 ]`` over
    windows i of each environment, with a known quantity c_e; then, z held, the forecaster: ``min sum_e L_e(theta, z_e)``.

    Of a backbone with a style (``style_resnet``, ``style_unet``: gains, shifts and what lies beyond the edges) z
    moves that, linearly; of any other, gain and shift of every hidden layer. Published: style_resnet as a one-step
    map of ``history=20`` frames, the encoder on the same 20, three steps in the loss, dim 512, encoder of width 128
    and depth 4, label ``"vorticity"`` (turbulence, currents) or ``"mean"`` (SST, whose class of season is left out);
    experiment turbulence_dyad. There, each sample's z is that of its own input frames; here, an environment's is the
    mean over windows of its support. The published encoder's batch normalisation is left out
    (:class:`leads.contexts.window_networks.WindowConv`), and labels are standardised. Its ablations: ``stages=1``
    trains all together (end-to-end), ``pads=False`` leaves what lies beyond the edges the same in all environments
    (no AdaPad). A new environment takes a forward pass.

    Source: Wang, Walters and Yu, "Meta-learning dynamics forecasting using task inference", NeurIPS 2022, and public code.
    """
    del environments
    styled = getattr(make_backbone(), "style", None)
    style = None if styled is None else [name for name in styled() if pads or "pads" not in name.split(".")]
    # The encoder hands on z / sqrt(dim): this spread makes the maps from it those of a fresh layer on z.
    spread = math.sqrt(dim)
    adapter = (
        Modulation(make_backbone, dim) if style is None else LinearHyper(make_backbone, dim, only=style, spread=spread)
    )
    source = SupervisedEncoder(
        adapter, state_shape_of(make_backbone, history), label, label_weight, invariance, size, samples, stages,
        frames=frames, windows=windows, width=encoder_width, depth=encoder_depth, network=network,
    )  # fmt: skip
    return DecomposedDynamics(adapter, source, history=history, **integrator)

"""Conformal quantiles where the exchangeable units are environments, each with many scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from leads.errors import SettingsError


def environments_needed(level: float) -> int:
    """The fewest held-out environments for bands of this level: ``level / (1 - level)``, rounded up (9 for 90 %)."""
    return math.ceil(level / (1 - level) - 1e-9)


def hierarchical_quantiles(scores: Tensor, levels: Tensor) -> Tensor:
    """Quantiles that a score of a fresh environment exceeds with at most probability ``1 - level``.

    With K environments of n_k scores each, the quantile is that of ``sum_k sum_i 1 / ((K + 1) n_k) delta_{s_ki} +
    1 / (K + 1) delta_inf``: hierarchical conformal prediction (Lee, Barber and Willett 2023, "Distribution-free inference
    with hierarchical data"). For one score each it is the split conformal quantile number
    ``ceil((K + 1) level)``.

    Args:
        scores: shape ``(..., K, M)``; NaN where there is none.
        levels: shape ``(L,)``.

    Returns:
        Shape ``(L, ...)``; infinite where K is too small for the level.
    """
    there = ~torch.isnan(scores)
    each = there.sum(-1, keepdim=True)
    environments = (each > 0).sum(-2, keepdim=True)
    weight = there / (each.clamp_min(1) * (environments + 1))
    flat, order = scores.nan_to_num(nan=math.inf, posinf=math.inf).flatten(-2).sort(-1)
    reached = weight.to(flat).flatten(-2).gather(-1, order).cumsum(-1)
    # A sum of many weights misses its exact value by rounding; a score more or less is decided as if it did not.
    first = torch.searchsorted(reached.contiguous(), (levels.to(flat) - 1e-9).expand(*flat.shape[:-1], -1).contiguous())
    padded = torch.cat([flat, torch.full_like(flat[..., :1], math.inf)], -1)
    return padded.gather(-1, first).movedim(-1, 0)


def refuse_too_few(level: float, environments: int) -> None:
    """Raise :class:`SettingsError` where bands of this level would be infinite."""
    needed = environments_needed(level)
    if environments < needed:
        raise SettingsError(
            f"Bands of {level:.4g} need at least {needed} held-out environments, the calibration has {environments}: with "
            f"fewer, only infinite bands keep the promise. Give more environments, or a level of at most "
            f"{environments / (environments + 1):.3g}."
        )

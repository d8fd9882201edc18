"""Scores of forecasts that come with their uncertainty: pure functions, one value per environment."""

from __future__ import annotations

import torch
from torch import Tensor

from leads.errors import ShapeError


def coverage(lower: Tensor, upper: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of observed entries inside ``[lower, upper]``; all ``(E, N, T, C, *X)``, result ``(E,)``."""
    _check(truth, mask, lower=lower, upper=upper)
    return _mean(((truth >= lower) & (truth <= upper)).to(truth), mask)


def interval_width(lower: Tensor, upper: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of ``upper - lower`` over observed entries, ``(E,)``."""
    _check(lower, mask, upper=upper)
    return _mean(upper - lower, mask)


def interval_score(lower: Tensor, upper: Tensor, truth: Tensor, level: float, mask: Tensor | None = None) -> Tensor:
    """Width plus ``2 / (1 - level)`` times the distance by which the truth is missed, averaged: ``(E,)``.

    Proper for central intervals: narrow ones are rewarded, misses punished. Gneiting and Raftery (2007), "Strictly proper
    scoring rules, prediction, and estimation", eq. 43.
    """
    _check(truth, mask, lower=lower, upper=upper)
    missed = (lower - truth).clamp_min(0) + (truth - upper).clamp_min(0)
    return _mean(upper - lower + 2 / (1 - level) * missed, mask)


def crps_gaussian(mean: Tensor, deviation: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Continuous ranked probability score of Gaussian forecasts, averaged: ``(E,)``, in units of the state.

    Absolute error where the deviation is zero. Gneiting and Raftery (2007), section 4.2; computed by ``scoringrules``.
    """
    from scoringrules import crps_normal

    _check(truth, mask, mean=mean, deviation=deviation)
    exact = deviation == 0
    score = crps_normal(truth, mean, torch.where(exact, 1.0, deviation), backend="torch")
    return _mean(torch.where(exact, (truth - mean).abs(), score), mask)


def crps_ensemble(draws: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """CRPS of an ensemble ``(n, E, N, T, C, *X)`` of at least two, averaged: ``(E,)``.

    The fair estimator, unbiased in the number of draws (Ferro 2014, "Fair scores for ensemble forecasts"); computed by
    ``scoringrules``.
    """
    from scoringrules import crps_ensemble as score

    _check(truth, mask, draws=draws[0])
    if len(draws) < 2:
        raise ShapeError(f"The score of an ensemble needs at least two draws (axis 0), got {len(draws)}.")
    return _mean(score(truth, draws.movedim(0, -1), estimator="fair", backend="torch"), mask)


def coverage_in_time(lower: Tensor, upper: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of observed entries inside the interval at every time, averaged over environments: ``(T,)``."""
    _check(truth, mask, lower=lower, upper=upper)
    inside = ((truth >= lower) & (truth <= upper)).to(truth)
    seen = None if mask is None else mask.transpose(0, 2)
    return _mean(inside.transpose(0, 2), seen)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over all axes but the first of the observed entries; NaN where there are none, infinite after a divergence."""
    values = values.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    if mask is None:
        return values.flatten(1).mean(1)
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.flatten(1).sum(1) / mask.flatten(1).sum(1)


def _check(truth: Tensor, mask: Tensor | None, **others: Tensor) -> None:
    for name, value in others.items():
        if value.shape != truth.shape:
            raise ShapeError(f"{name} has shape {tuple(value.shape)}, the truth {tuple(truth.shape)}.")
    if mask is not None and mask.shape != truth.shape:
        raise ShapeError(f"The mask has shape {tuple(mask.shape)}, the truth {tuple(truth.shape)}.")

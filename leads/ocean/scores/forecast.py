"""Scores of forecasts against lead time, one value an environment."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from leads.errors import ShapeError
from leads.evaluation import coverage
from leads.ocean.scores.checks import same_shape


@dataclass(frozen=True)
class LeadScores:
    """Attributes, each ``(E, T)``; NaN where nothing is known:

    rmse: root mean square error, unit of the field; infinite where a forecast left the finite numbers.
    score: ``1 - rmse / rms(truth)``, the mapping challenges' score.
    anomaly_correlation: without unit; NaN where a forecast left the finite numbers.
    count: entries that were scored.
    """

    rmse: Tensor
    score: Tensor
    anomaly_correlation: Tensor
    count: Tensor


def lead_scores(
    forecast: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    *,
    climatology: Tensor | float = 0.0,
    weights: Tensor | None = None,
    centred: bool = False,
) -> LeadScores:
    """Error, score and anomaly correlation at each lead time, over trajectories, channels and space.

    ``rmse^2 = sum w (f - o)^2 / sum w``; ``correlation = sum w f' o' / sqrt(sum w f'^2 sum w o'^2)`` with ``f' = f - c``,
    ``o' = o - c`` (Wilks 2011, Statistical Methods in the Atmospheric Sciences, section 8.6.4, both forms).

    Args:
        forecast, truth: ``(E, N, T, C, Y, X)``; one channel at a time where channels have different units. Land is NaN in
            the truth.
        mask: True where to score; by default wherever the truth is finite.
        climatology: c, broadcasting against ``truth``.
        weights: not negative, broadcasting against ``truth``: the cosine of latitude, ``(Y, 1)``, for equal areas.
        centred: take the (weighted) mean over space and trajectories out of f' and o' first.

    Raises:
        ShapeError: shapes that differ or do not broadcast.
    """
    same_shape(forecast, truth, 4, "forecast")
    w = _weights(truth, mask, weights)
    zero = torch.zeros((), dtype=truth.dtype, device=truth.device)
    keep = w > 0
    o, f = torch.where(keep, truth, zero), torch.where(keep, forecast, zero)
    bad = _sum(keep & ~torch.isfinite(f)) > 0
    f = f.nan_to_num(0.0, 0.0, 0.0)
    total = _sum(w)
    rmse = (_sum(w * (f - o).square()) / total).sqrt()
    rmse = torch.where(bad, math.inf, rmse)
    score = 1 - rmse / (_sum(w * o.square()) / total).sqrt()
    known = torch.as_tensor(climatology, dtype=truth.dtype, device=truth.device)
    a, b = (torch.where(keep, x - known, zero) for x in (f, o))
    if centred:
        a, b = (torch.where(keep, x - _spread(_sum(w * x) / total, x), zero) for x in (a, b))
    correlation = _sum(w * a * b) / (_sum(w * a.square()) * _sum(w * b.square())).sqrt()
    return LeadScores(rmse, score, torch.where(bad, torch.nan, correlation), _sum(keep))


def lead_coverage(lower: Tensor, upper: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of known entries inside the bands at each lead time, ``(E, T)``, by :func:`leads.evaluation.coverage`.

    Args:
        lower, upper, truth: ``(E, N, T, C, *X)``; land is NaN in the truth.
        mask: True where to score; by default wherever the truth is finite.

    Raises:
        ShapeError: shapes that differ.
    """
    same_shape(lower, truth, 4, "lower bound")
    same_shape(upper, truth, 4, "upper bound")
    keep = torch.isfinite(truth) if mask is None else torch.isfinite(truth) & mask
    each = lambda x: x.transpose(1, 2).flatten(0, 1)[:, :, None]  # noqa: E731
    share = coverage(each(lower), each(upper), each(truth), each(keep))
    return share.unflatten(0, (truth.shape[0], truth.shape[2]))


def _weights(truth: Tensor, mask: Tensor | None, weights: Tensor | None) -> Tensor:
    keep = torch.isfinite(truth)
    try:
        if mask is not None:
            keep = keep & mask.to(truth.device, torch.bool).expand(truth.shape)
        w = torch.ones_like(truth) if weights is None else weights.to(truth).expand(truth.shape)
    except RuntimeError:
        raise ShapeError(
            f"The mask or the weights do not broadcast to the truth's shape {tuple(truth.shape)}."
        ) from None
    return torch.where(keep, w, torch.zeros_like(w))


def _sum(x: Tensor) -> Tensor:
    """Over trajectories, channels and space: ``(E, N, T, ...)`` to ``(E, T)``."""
    return x.transpose(1, 2).flatten(2).sum(2)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """``(E, T)`` to broadcast against ``(E, N, T, ...)``."""
    return values.reshape(values.shape[0], 1, values.shape[1], *[1] * (like.ndim - 3))

"""Error measures: pure functions of a forecast and the truth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from leads.errors import ShapeError
from leads.registry import Registry

Metric = Callable[[Tensor, Tensor, Tensor | None], Tensor]
metrics: Registry[Metric] = Registry("metric")


@metrics.register("mse")
def mse(forecast: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean square error over all observed entries of an environment; ``(E, N, T, C, *X)`` to ``(E,)``."""
    error, weight = _prepare(forecast, truth, mask)
    return error.square().flatten(1).sum(1) / weight.flatten(1).sum(1)


@metrics.register("rmse")
def rmse(forecast: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Root of :func:`mse`, ``(E,)``."""
    return mse(forecast, truth, mask).sqrt()


@metrics.register("relative_l2")
def relative_l2(forecast: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Norm of the error over the norm of the truth, per trajectory, averaged: ``(E,)``."""
    error, weight = _prepare(forecast, truth, mask)
    scale = torch.where(weight > 0, truth, torch.zeros_like(truth)).flatten(2).norm(dim=2)
    return (error.flatten(2).norm(dim=2) / scale.clamp_min(1e-30)).mean(1)


@metrics.register("mape")
def mape(forecast: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of |error| / |truth| over observed entries whose truth is not zero, ``(E,)``."""
    error, weight = _prepare(forecast, truth, mask)
    use = (weight > 0) & (truth != 0)
    ratio = torch.where(use, error.abs() / truth.abs().clamp_min(1e-30), torch.zeros_like(error))
    return ratio.flatten(1).sum(1) / use.flatten(1).sum(1)


def _prepare(forecast: Tensor, truth: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Error, zero where not observed, and the weight of each entry."""
    if forecast.shape != truth.shape:
        raise ShapeError(f"The forecast has shape {tuple(forecast.shape)}, the truth {tuple(truth.shape)}.")
    if mask is not None and mask.shape != truth.shape:
        raise ShapeError(f"The mask has shape {tuple(mask.shape)}, the truth {tuple(truth.shape)}.")
    weight = torch.ones_like(truth) if mask is None else mask.to(truth)
    error = forecast - truth
    return torch.where(weight > 0, error, torch.zeros_like(error)), weight

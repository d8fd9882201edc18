"""Bands around the forecast of an adapted model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leads.adaptation.posterior import (
    Bands,
    Method,
    check_level,
    check_method,
    interval,
    linearised,
    noise_variance,
    normal_quantile,
    with_noise,
)
from leads.errors import SettingsError

if TYPE_CHECKING:
    from leads.adaptation.adapted import Adapted


def sampled(
    adapted: Adapted, x0: Tensor, times: Tensor, noise: bool = True, draws: int = 256, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Mean and variance over forecasts with contexts drawn from the posterior, each ``(E, N, T, C, *X)``, float64.

    Where a draw leaves the finite numbers the mean is the forecast's and the variance infinite.
    """
    return _moments(_draws(adapted, x0, times, draws, seed), adapted, x0, times, noise)


def make_bands(
    adapted: Adapted, x0: Tensor, times: Tensor, level: float, method: Method, noise: bool, draws: int, seed: int
) -> Bands:
    """The uncalibrated interval: of a Gaussian where linearised, quantiles of the draws where sampled."""
    check_level(level)
    check_method(method)
    make: dict[str, Callable[[], Bands]] = {
        "linearised": lambda: _gaussian(adapted, x0, times, level, noise),
        "sampled": lambda: _quantiles(adapted, x0, times, level, noise, draws, seed),
    }
    return make[method]().to(adapted.like())


def moments(
    adapted: Adapted, x0: Tensor, times: Tensor, method: Method, noise: bool, draws: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation by either method, float64."""
    check_method(method)
    make: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "linearised": lambda: linearised(adapted, x0, times, noise),
        "sampled": lambda: sampled(adapted, x0, times, noise, draws, seed),
    }
    mean, variance = make[method]()
    return mean, variance.sqrt()


def _gaussian(adapted: Adapted, x0: Tensor, times: Tensor, level: float, noise: bool) -> Bands:
    mean, variance = linearised(adapted, x0, times, noise)
    return interval(mean, variance.sqrt(), level, normal_quantile(level), False)


def _quantiles(adapted: Adapted, x0: Tensor, times: Tensor, level: float, noise: bool, draws: int, seed: int) -> Bands:
    many = _draws(adapted, x0, times, draws, seed)
    mean, variance = _moments(many, adapted, x0, times, noise)
    if noise:
        extra = with_noise(torch.zeros_like(variance), noise_variance(adapted)).sqrt()
        generator = torch.Generator().manual_seed(seed + 1)
        many = many + extra * torch.randn(many.shape, dtype=many.dtype, generator=generator).to(many)
    tail = (1 - level) / 2
    ordered = many.sort(0).values
    lower, upper = _order_statistic(ordered, tail), _order_statistic(ordered, 1 - tail)
    unbounded = torch.isinf(variance)
    lower, upper = torch.where(unbounded, -variance, lower), torch.where(unbounded, variance, upper)
    return Bands(mean, variance.sqrt(), lower, upper, level)


def _order_statistic(ordered: Tensor, probability: float) -> Tensor:
    """Quantile by linear interpolation of values sorted along axis 0; ``torch.quantile`` takes 16 million at most."""
    place = probability * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _draws(adapted: Adapted, x0: Tensor, times: Tensor, draws: int, seed: int) -> Tensor:
    if not isinstance(draws, int) or draws < 2:
        raise SettingsError(f"Sampled bands need at least 2 draws, some hundred for tails; got draws={draws!r}.")
    return adapted.ensemble(x0, times, draws, seed).double()


def _moments(many: Tensor, adapted: Adapted, x0: Tensor, times: Tensor, noise: bool) -> tuple[Tensor, Tensor]:
    sound = torch.isfinite(many).all(0)
    mean, variance = many.mean(0), many.var(0)
    if not bool(sound.all()):
        mean = torch.where(sound, mean, adapted.forecast(x0, times).to(mean))
        variance = torch.where(sound, variance, torch.full_like(variance, torch.inf))
    return mean, with_noise(variance, noise_variance(adapted)) if noise else variance

"""The Gaussian posterior of a context, pushed forward to the forecast.

Adaptation gives a context c with covariance Sigma (Laplace: Gauss-Newton matrix and residual variance at the fit). With
J the Jacobian of the forecast f in c, the forecast has to first order the covariance ``J Sigma J^T + sigma^2 I``
(MacKay 1992, "A practical Bayesian framework for backpropagation networks"; Immer et al. 2021, "Improving
predictions of Bayesian neural nets via local linearization").
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from leads.contexts.flat import flatten, unflatten
from leads.errors import SettingsError, UnknownNameError
from leads.registry import nearest

if TYPE_CHECKING:
    from leads.adaptation.adapted import Adapted

Method = Literal["linearised", "sampled"]
METHODS = ("linearised", "sampled")
#: Step of the central differences, near the cube root of float64's precision.
STEP = 1e-5
#: Most numbers in one stacked rollout (256 MiB in float64).
ROLLOUT = 2**25


@dataclass(frozen=True)
class Bands:
    """A forecast with its uncertainty; every tensor has shape ``(E, N, T, C, *X)``.

    Attributes:
        mean, standard_deviation: of the predictive distribution. The first frame is given and has no spread.
        lower, upper: ends of the central interval.
        level: probability that the interval is to hold for each entry.
        calibrated: whether the interval's width was fitted to held-out environments.
    """

    mean: Tensor
    standard_deviation: Tensor
    lower: Tensor
    upper: Tensor
    level: float
    calibrated: bool = False

    @property
    def width(self) -> Tensor:
        """``upper - lower``."""
        return self.upper - self.lower

    def to(self, like: Tensor) -> Bands:
        """The same in the dtype and on the device of ``like``."""
        names = ("mean", "standard_deviation", "lower", "upper")
        return replace(self, **{n: getattr(self, n).to(like) for n in names})


def check_level(level: float) -> float:
    """``level`` if it is a probability inside (0, 1).

    Raises:
        SettingsError: it is not.
    """
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise SettingsError(
            f"level is the probability that a band holds, between 0 and 1 (0.9 for 90 %); got {level!r}."
        )
    return float(level)


def check_method(method: str) -> None:
    """Raise :class:`UnknownNameError` unless ``method`` is one of ``METHODS``."""
    if method not in METHODS:
        raise UnknownNameError(f"No method of making bands is named {method!r}. {nearest(str(method), METHODS)}")


def normal_quantile(level: float) -> float:
    """Half width, in standard deviations, of the central interval of a Gaussian that holds ``level``."""
    return float(torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)))


def interval(mean: Tensor, deviation: Tensor, level: float, scale: Tensor | float, calibrated: bool) -> Bands:
    """``mean -+ scale * deviation``; unbounded where the deviation or the scale is, whatever the other."""
    half = (scale * deviation).nan_to_num(nan=math.inf, posinf=math.inf)
    return Bands(mean, deviation, mean - half, mean + half, level, calibrated)


def free_context(adapted: Adapted) -> Tensor:
    """The contexts that were found, flattened as the covariance has them: ``(E, d)``, float64."""
    known = adapted.model.adapter.known
    found = {k: v for k, v in adapted.contexts.items() if k not in known}
    return flatten(found).double() if found else torch.empty(0, 0, dtype=torch.float64)


def covariance_of(adapted: Adapted) -> Tensor:
    """The covariance ``(E, d, d)`` in float64.

    Raises:
        SettingsError: there is none.
    """
    if adapted.covariance is None:
        raise SettingsError(
            "There is no covariance of the contexts: it comes with leads.adapt(..., solver='levenberg_marquardt'), which "
            "needs a context of moderate size. For methods with large contexts, several models trained from different "
            "seeds give a spread: leads.Ensemble(models).adapt(support)."
        )
    return adapted.covariance.double()


def square_root(covariance: Tensor) -> Tensor:
    """``R`` with ``R R^T = covariance``: eigenvectors times the roots of the eigenvalues, ``(..., d, d)``."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()[..., None, :]


def noise_variance(adapted: Adapted) -> Tensor:
    """Mean square of what the fit left unexplained in the support, ``(E,)`` float64: noise and model error together.

    Zero where the solver did not tell it in the units of the states.
    """
    loss = adapted.info.get("loss")
    e = next((v.shape[0] for v in adapted.contexts.values()), 1)
    relative = adapted.model.loss != "mse" and adapted.info.get("solver") in ("gradient", "none")
    if loss is None or relative:
        return torch.zeros(e, dtype=torch.float64)
    return torch.as_tensor(loss, dtype=torch.float64)


def forecaster(adapted: Adapted, x0: Tensor, times: Tensor) -> Callable[[Tensor], Tensor]:
    """Forecasts in float64 as a function of contexts: ``(E, M, d)`` to ``(E, M, N, T, C, *X)``, in one rollout."""
    model = copy.deepcopy(adapted.model).double().requires_grad_(False)
    known = {k: v.double() for k, v in adapted.contexts.items() if k in adapted.model.adapter.known}
    like = {k: v for k, v in adapted.contexts.items() if k not in known}
    start = x0.to(adapted.like()).double()

    def forecast(points: Tensor) -> Tensor:
        m = points.shape[1]
        contexts = unflatten(points.flatten(0, 1), like)
        contexts |= {k: v.repeat_interleave(m, 0) for k, v in known.items()}
        with torch.no_grad():
            return model.rollout(start.repeat_interleave(m, 0), times, contexts).unflatten(0, (-1, m))

    return forecast


def central_differences(f: Callable[[Tensor], Tensor], point: Tensor, directions: Tensor) -> Tensor:
    """Derivatives of ``f`` along unit vectors, second order in the step.

    Args:
        f: maps points ``(E, M, d)`` to values ``(E, M, ...)``, each on its own.
        point: shape ``(E, d)``.
        directions: shape ``(E, K, d)``.

    Returns:
        Shape ``(E, K, ...)``.
    """
    h = STEP * point.abs().amax(1).clamp_min(1.0)[:, None, None]
    values = f(torch.cat([point[:, None] + h * directions, point[:, None] - h * directions], 1))
    k = directions.shape[1]
    return (values[:, :k] - values[:, k:]) / (2 * h.reshape(-1, *(1,) * (values.ndim - 1)))


def derivatives(
    f: Callable[[Tensor], Tensor], point: Tensor, directions: Tensor, entries: int
) -> Iterator[tuple[slice, Tensor]]:
    """:func:`central_differences` for a few directions at a time, as many as one rollout of ``ROLLOUT`` numbers holds;
    ``entries`` counts those of one forecast of all environments."""
    k = max(1, ROLLOUT // max(1, 2 * entries))
    for first in range(0, directions.shape[1], k):
        part = slice(first, first + k)
        yield part, central_differences(f, point, directions[:, part])


def linearised(adapted: Adapted, x0: Tensor, times: Tensor, noise: bool = True) -> tuple[Tensor, Tensor]:
    """Mean and variance of the forecast to first order, each ``(E, N, T, C, *X)``, float64.

    The variance is ``sum_k (J r_k)^2 + sigma^2`` with ``r_k`` the columns of a root of the covariance: one pair of
    forecasts a direction, and no Jacobian is kept.
    """
    return push_forward(
        forecaster(adapted, x0, times),
        free_context(adapted),
        covariance_of(adapted),
        noise_variance(adapted) if noise else None,
    )


def push_forward(
    f: Callable[[Tensor], Tensor], point: Tensor, covariance: Tensor, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """First-order mean and variance of ``f`` of a Gaussian.

    Args:
        f: maps points ``(E, M, d)`` to forecasts ``(E, M, N, T, ...)``.
        point, covariance: of the Gaussian, ``(E, d)`` and ``(E, d, d)``.
        noise: variance added to all frames but the first, ``(E,)``.
    """
    mean = f(point[:, None])[:, 0]
    values, vectors = torch.linalg.eigh(covariance)
    size = values.clamp_min(0).sqrt()
    variance = torch.zeros_like(mean)
    for part, slopes in derivatives(f, point, vectors.mT, mean.numel()):
        weight = size[:, part].reshape(*size[:, part].shape, *(1,) * (mean.ndim - 1))
        # A direction without spread adds nothing, also where the forecast diverges along it.
        variance = variance + torch.where(weight > 0, slopes * weight, torch.zeros_like(slopes)).square().sum(1)
    variance = torch.where(torch.isfinite(mean), variance.nan_to_num(nan=math.inf, posinf=math.inf), variance)
    return mean, variance if noise is None else with_noise(variance, noise)


def with_noise(variance: Tensor, noise: Tensor) -> Tensor:
    """``variance`` ``(E, N, T, ...)`` plus ``noise`` ``(E,)`` in all frames but the first, which is given."""
    frames = (torch.arange(variance.shape[2], device=variance.device) > 0).to(variance.dtype)
    added = noise.to(variance)[:, None] * frames
    return variance + added.reshape(len(noise), 1, -1, *(1,) * (variance.ndim - 3))

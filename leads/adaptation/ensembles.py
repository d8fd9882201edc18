"""Several models trained from different seeds, as one forecaster."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted
from leads.adaptation.posterior import Bands, Method, check_level, interval, noise_variance, normal_quantile, with_noise
from leads.adaptation.settings import AdaptSettings
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError, ShapeError
from leads.trajectories import Trajectories

if TYPE_CHECKING:
    from leads.adaptation.calibration import Calibration


class Ensemble:
    """Models of one system, each trained on its own (Lakshminarayanan et al. 2017, "Simple and scalable predictive
    uncertainty estimation using deep ensembles"): they may differ in seed, method and backbone.

    Args:
        models: two or more, of the same state and history.

    Raises:
        SettingsError, ShapeError: fewer, or of different states.
    """

    def __init__(self, models: Sequence[DecomposedDynamics]) -> None:
        self.models = list(models)
        if len(self.models) < 2:
            raise SettingsError(f"An ensemble needs at least two models, got {len(self.models)}.")
        kinds = {(str(m.recipe.get("state_shape")), m.history) for m in self.models}
        if len(kinds) > 1:
            raise ShapeError(f"The models of an ensemble differ in (state shape, history): {sorted(kinds)}.")

    def adapt(self, support: Trajectories, settings: AdaptSettings | None = None, **overrides: Any) -> AdaptedEnsemble:
        """Every model adapted to the same observations, as :func:`leads.adapt` does."""
        return AdaptedEnsemble(tuple(adapt(m, support, settings, **overrides) for m in self.models))


@dataclass(frozen=True)
class AdaptedEnsemble:
    """Adapted models of the same environments; the forecast is their mean.

    The predictive distribution is taken as the Gaussian with the moments of the equal mixture: mean of the means, and
    mean of the variances plus variance of the means (Lakshminarayanan et al. 2017, section 2.4). Members without
    covariance (large contexts, gradient steps) bring their mean and their noise.
    """

    members: tuple[Adapted, ...]

    def forecast(self, x0: Tensor, times: Tensor) -> Tensor:
        """Mean of the members' forecasts, ``(E, N, T, C, *X)``."""
        return torch.stack([m.forecast(x0, times).to(self.like()) for m in self.members]).mean(0)

    def bands(
        self,
        x0: Tensor,
        times: Tensor,
        level: float = 0.9,
        method: Method = "linearised",
        *,
        calibration: Calibration | None = None,
        noise: bool = True,
        draws: int = 256,
        seed: int = 0,
    ) -> Bands:
        """The forecast with its uncertainty; see :meth:`leads.Adapted.bands`."""
        if calibration is not None:
            return calibration.bands(self, x0, times, level)
        mean, deviation = self.moments(x0, times, method, noise, draws, seed)
        return interval(mean, deviation, check_level(level), normal_quantile(level), False).to(self.like())

    @torch.no_grad()
    def moments(
        self, x0: Tensor, times: Tensor, method: Method, noise: bool = True, draws: int = 256, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the mixture, float64."""
        means, variances = [], []
        for i, member in enumerate(self.members):
            if member.covariance is None:
                mean = member.forecast(x0, times).double()
                variance = torch.zeros_like(mean)
                variance = with_noise(variance, noise_variance(member)) if noise else variance
            else:
                # Another seed each, so that the draws of two members do not move together.
                mean, deviation = member.moments(x0, times, method, noise, draws, seed + 2 * i)
                variance = deviation.square()
            means.append(mean)
            variances.append(variance)
        together = torch.stack(means)
        return together.mean(0), (torch.stack(variances).mean(0) + together.var(0, correction=0)).sqrt()

    def warnings(self) -> list[str]:
        """What to know before trusting a forecast, of every member."""
        return [f"Member {i}: {text}" for i, m in enumerate(self.members) for text in m.warnings()]

    def fingerprint(self) -> str:
        """Hash of all members' recipes and weights."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return hashlib.sha256("".join(m.fingerprint() for m in self.members).encode()).hexdigest()

    def like(self) -> Tensor:
        """A tensor with the models' dtype and device."""
        return self.members[0].like()

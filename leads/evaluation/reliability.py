"""Whether error bars keep their promise on test trajectories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from leads.adaptation import Adapted, AdaptedEnsemble, Bands, Calibration
from leads.adaptation.posterior import Method, check_level, interval, normal_quantile
from leads.errors import SettingsError, ShapeError
from leads.evaluation.probabilistic import coverage, coverage_in_time, crps_gaussian, interval_score, interval_width
from leads.trajectories import Trajectories
from leads.trajectories.trajectories import require_frames, require_trajectories

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Reliability:
    """Bands scored on one test set; the first frame of a forecast, which is given, does not count.

    Attributes:
        levels: what the bands promised.
        coverage: what they held, over all environments.
        standard_error: of each coverage, from its spread over environments.
        level: the level of what follows.
        per_environment: coverage in each environment.
        in_time: coverage at each lead time.
        lead_times: those times, since the start of the forecast.
        width, interval_score, crps: means over environments, in units of the state. The CRPS is that of the Gaussian
            with the uncalibrated moments.
    """

    levels: list[float]
    coverage: list[float]
    standard_error: list[float]
    level: float
    per_environment: list[float]
    in_time: list[float]
    lead_times: list[float]
    width: float
    interval_score: float
    crps: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description."""
        return asdict(self)


@torch.no_grad()
def reliability(
    adapted: Adapted | AdaptedEnsemble,
    test: Trajectories,
    calibration: Calibration | None = None,
    *,
    level: float = 0.9,
    levels: Sequence[float] = LEVELS,
    method: Method = "linearised",
    noise: bool = True,
) -> Reliability:
    """Score the bands of a forecaster on trajectories of the same environments.

    Args:
        adapted: what :func:`leads.adapt` returned, or an adapted ensemble.
        test: trajectories of its environments, in the same order.
        calibration: scores calibrated bands; it brings its own method and noise. Else the Gaussian ones.
        level: for coverage per environment and in time, width and interval score.
        levels: for the reliability curve; with a calibration, those that its number of environments allows.
        method, noise: of uncalibrated bands.

    Raises:
        SettingsError: see :meth:`leads.Adapted.bands`; also where no level is left.
        ShapeError: test data of another number of environments.
    """
    require_trajectories(test, "reliability's test")
    model = adapted.members[0].model
    require_frames(test, model.history, "test trajectories")
    environments = len(adapted.members[0].posterior()[0])
    if environments != test.n_environments:
        raise ShapeError(
            f"The model is adapted to {environments} environments, the test data have {test.n_environments}."
        )
    x0, kept = test.first(model.history), test.select(frames=slice(model.history - 1, None))
    if calibration is None:
        mean, deviation = adapted.moments(x0, kept.times, method, noise)
    else:
        calibration.refuse_others(adapted)
        settings = (calibration.method, calibration.noise, calibration.draws, calibration.seed)
        mean, deviation = adapted.moments(x0, kept.times, *settings)
        most = calibration.environments / (calibration.environments + 1)
        levels = [q for q in levels if q <= most]
    if not levels:
        raise SettingsError("No level is left to score. Give levels, or calibrate on more environments.")
    after = slice(1, None)
    truth, mask = (
        kept.states.to(mean)[:, :, after],
        None if kept.mask is None else kept.mask[:, :, after].to(mean.device),
    )

    def bands(q: float) -> Bands:
        check_level(q)
        if calibration is not None:
            return calibration.widen(mean, deviation, kept.times, q)
        return interval(mean, deviation, q, normal_quantile(q), False)

    cut: Callable[[Tensor], Tensor] = lambda x: x[:, :, after]  # noqa: E731
    held = torch.stack([coverage(cut(b.lower), cut(b.upper), truth, mask) for b in map(bands, levels)])
    chosen = bands(level)
    ends = cut(chosen.lower), cut(chosen.upper)
    return Reliability(
        levels=list(levels),
        coverage=held.nanmean(1).tolist(),
        standard_error=(held.std(1) / held.shape[1] ** 0.5).tolist(),
        level=level,
        per_environment=coverage(*ends, truth, mask).tolist(),
        in_time=coverage_in_time(*ends, truth, mask).tolist(),
        lead_times=(kept.times[1:] - kept.times[0]).tolist(),
        width=float(interval_width(*ends, mask).nanmean()),
        interval_score=float(interval_score(*ends, truth, level, mask).nanmean()),
        crps=float(crps_gaussian(cut(mean), cut(deviation), truth, mask).nanmean()),
    )

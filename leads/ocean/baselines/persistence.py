"""Forecasts from means and the last frame: persistence, damped persistence, climatology."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from leads.errors import DataError, SettingsError, UnknownNameError
from leads.ocean.baselines.baseline import Baseline, held, last_known
from leads.registry import nearest
from leads.trajectories import Trajectories

Per = Literal["channel", "point"]
PER = ("channel", "point")


class Persistence(Baseline):
    """The last observed value at every point, for ever."""

    def _forecast(self, past: Tensor, past_times: Tensor, leads: Tensor) -> Tensor:
        del past_times
        return held(last_known(past), leads)


@dataclass(frozen=True)
class Climatology(Baseline):
    """The mean state at every lead.

    Attributes:
        mean: broadcasting against ``(E, N, C, Y, X)``, see :func:`mean_state`; None takes each trajectory's own mean over
            its past frames at every point: all there is to know of a region never seen.
    """

    mean: Tensor | None = None

    def _forecast(self, past: Tensor, past_times: Tensor, leads: Tensor) -> Tensor:
        del past_times
        own = past.nanmean(2) if self.mean is None else self.mean.to(past).expand(past[:, :, 0].shape)
        return held(own, leads)


@dataclass(frozen=True)
class DampedPersistence(Baseline):
    """Persistence of the anomaly, damped: ``c + a(lead) (x - c)``, x the last observed value.

    Attributes:
        mean: c, broadcasting against ``(E, N, C, Y, X)``.
        leads: s, increasing, from 0, ``(K,)``.
        coefficient: a at these leads, ``(K, C)``; linear between them.
    """

    mean: Tensor
    leads: Tensor
    coefficient: Tensor

    @classmethod
    def fit(cls, train: Trajectories, leads: Tensor, mean: Tensor | None = None) -> DampedPersistence:
        """Coefficients of least squares: ``a(lead) = sum x'(t) x'(t + lead) / sum x'(t)^2`` for each channel, over all
        environments, trajectories, points and pairs of frames so far apart.

        Args:
            train: training environments.
            leads: s, not negative, increasing, ``(K,)``; each must be the distance of some two frames.
            mean: c; by default the mean of each channel over all of ``train``.

        Raises:
            SettingsError: a lead at which no two frames lie.
            DataError: nothing observed at both ends of it.
        """
        mean = mean_state(train, "channel") if mean is None else mean
        x = (_known(train) - mean.to(train.states).unsqueeze(-4)).to(torch.float64)
        times = train.times.to(torch.float64)
        rows = [_coefficient(x, times, float(lead)) for lead in leads if float(lead) > 0]
        at = [float(lead) for lead in leads if float(lead) > 0]
        one = torch.ones(x.shape[3], dtype=torch.float64)
        return cls(mean, torch.tensor([0.0, *at], dtype=torch.float64), torch.stack([one, *(r.cpu() for r in rows)]))

    def _forecast(self, past: Tensor, past_times: Tensor, leads: Tensor) -> Tensor:
        del past_times
        if float(leads[-1]) > float(self.leads[-1]) * (1 + 1e-9):
            raise SettingsError(
                f"Damped persistence was fitted for leads up to {float(self.leads[-1]):g} s, got {float(leads[-1]):g} s. "
                "Fit it for these leads."
            )
        last = last_known(past)
        c = self.mean.to(past).expand(last.shape)
        a = _interpolated(self.leads, self.coefficient, leads).to(past)
        return c[:, :, None] + a[:, :, None, None] * (last - c)[:, :, None]


def mean_state(train: Trajectories, per: Per = "channel") -> Tensor:
    """Mean of the training data: one number a channel, ``(C, 1, 1)``, or at each point of each environment,
    ``(E, 1, C, Y, X)``, for forecasts of those environments.

    Raises:
        UnknownNameError: unknown ``per``.
        DataError: a channel that is never observed.
    """
    if per not in PER:
        raise UnknownNameError(f"Means are taken per channel or per point, got {per!r}. {nearest(str(per), PER)}")
    x = _known(train)
    if per == "point":
        return x.flatten(1, 2).nanmean(1)[:, None]
    mean = x.movedim(3, 0).flatten(1).nanmean(1)
    if not bool(torch.isfinite(mean).all()):
        raise DataError("A channel of the training data is never observed, so it has no mean. Leave it out.")
    return mean[:, None, None]


def _known(data: Trajectories) -> Tensor:
    return data.states if data.mask is None else torch.where(data.mask, data.states, torch.nan)


def _coefficient(x: Tensor, times: Tensor, lead: float) -> Tensor:
    """``(C,)`` of anomalies ``(E, N, T, C, Y, X)``."""
    apart = times[None] - times[:, None]
    first, second = ((apart - lead).abs() <= 1e-6 * lead).nonzero(as_tuple=True)
    if len(first) == 0:
        raise SettingsError(
            f"No two training frames lie {lead:g} s apart; frames lie {float(times.diff().min()):g} s apart and reach over "
            f"{float(times[-1] - times[0]):g} s."
        )
    now, later = x[:, :, first], x[:, :, second]
    both = torch.isfinite(now) & torch.isfinite(later)
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    sums = lambda y: torch.where(both, y, zero).movedim(3, 0).flatten(1).sum(1)  # noqa: E731
    power = sums(now.square())
    if not bool((power > 0).all()):
        raise DataError(f"Nothing varies and is observed at both ends of a lead of {lead:g} s.")
    return sums(now * later) / power


def _interpolated(at: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """``(K, C)`` at increasing ``at`` to ``(T, C)``, linear."""
    if len(at) == 1:
        return values.expand(len(wanted), -1)
    i = torch.searchsorted(at, wanted, right=True).clamp(1, len(at) - 1)
    share = ((wanted - at[i - 1]) / (at[i] - at[i - 1])).clamp(0, 1)
    return torch.lerp(values[i - 1], values[i], share[:, None])

"""Watching a stream of observations for the moment when an environment changes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from leads.adaptation.adapted import Adapted
from leads.adaptation.online import Innovation, OnlineAdapter
from leads.errors import SettingsError
from leads.trajectories import Trajectories
from leads.trajectories.trajectories import require_trajectories

#: Scores are cut here, so that one bad frame alone raises no alarm but two in a row do.
LARGEST = 4.0


def score(innovation: Innovation) -> Tensor:
    """A standard normal number per environment ``(E,)`` for how surprising an innovation is: ``Phi^-1(1 - p)``.

    p is the probability of a larger statistic under no change, from the F or the chi-square distribution; scores are cut
    at :data:`LARGEST` either way, and 0 where nothing was observed.
    """
    from scipy import stats

    n = innovation.degrees.cpu().numpy()
    ratio = innovation.statistic.cpu().numpy() / np.maximum(n, 1)
    freedom = innovation.freedom.cpu().numpy()
    known = ~np.isfinite(freedom)
    used = np.maximum(n, 1)
    p = np.where(known, stats.chi2.sf(ratio * used, used), stats.f.sf(ratio, used, np.where(known, 1.0, freedom)))
    values = np.where(n > 0, np.clip(stats.norm.isf(p), -LARGEST, LARGEST), 0.0)
    return torch.from_numpy(values)


def cusum_limit(rate: float, frames: int, allowance: float = 0.5) -> float:
    """The limit h that ``g_k = max(0, g_(k-1) + z_k - allowance)`` passes within ``frames`` with probability ``rate``, for
    independent standard normal z cut at :data:`LARGEST`.

    The chain is solved on 200 cells of [0, h], and h found by bisection.

    Source: Brook and Evans (1972), Biometrika 59, 539-549.

    Raises:
        SettingsError: a rate outside (0, 1), no frames, or a rate so small that no limit reaches it.
    """
    if not 0 < rate < 1 or frames < 1 or allowance < 0:
        raise SettingsError(
            "A false-alarm rate lies in (0, 1), over at least one frame, with an allowance of at least 0; got "
            f"rate={rate}, frames={frames}, allowance={allowance}."
        )
    low, high = 0.0, 40.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _alarm_probability(middle, frames, allowance) > rate else (low, middle)
    return high


def _alarm_probability(limit: float, frames: int, allowance: float, cells: int = 200) -> float:
    """Of passing ``limit`` within ``frames``, from 0."""
    from scipy.stats import norm

    width = limit / (cells - 0.5)
    centres = np.arange(cells) * width  # the first cell is half as wide, around 0

    def below(x: np.ndarray) -> np.ndarray:
        """P(z - allowance < x) for cut z."""
        z = x + allowance
        return np.where(z > LARGEST, 1.0, np.where(z <= -LARGEST, 0.0, norm.cdf(z)))

    edges = centres + width / 2
    reach = below(edges[None, :] - centres[:, None])
    stay = np.diff(reach, axis=1, prepend=0.0)
    return float(1 - np.linalg.matrix_power(stay, frames)[0].sum())


class DriftMonitor:
    """An :class:`OnlineAdapter` that says when an environment has changed.

    Frames are taken one at a time. Each gives a normalised innovation, its score z (standard normal under no change), and
    the one-sided cumulative sum ``g <- max(0, g + z - allowance)``; an environment is flagged where g passes a limit.
    Noise must be white and the model good enough for its error to stay below the noise: otherwise innovations are not
    what theory says, and a larger ``noise`` or some ``forgetting`` in the adapter is needed.

    Args:
        online: takes the observations in.
        rate: probability of a false alarm within ``frames`` frames, in each environment.
        frames: see ``rate``.
        allowance: half the shift of z that is to be found fastest.
        restart: what weight the past keeps in an environment that has just been flagged, in (0, 1]: small values let the
            estimate follow the change. 1 leaves it.

    Attributes:
        limit: of the cumulative sum.
        level: its present value, ``(E,)``.
        flagged: ``(E,)``.
        time: of the first alarm, ``(E,)``; NaN where there was none.
        began: when the change is estimated to have begun, ``(E,)``: the frame after the sum was last zero; NaN as above.

    Source: Page (1954), Biometrika 41, 100-115.
    """

    def __init__(
        self, online: OnlineAdapter, rate: float = 0.01, frames: int = 100, allowance: float = 0.5, restart: float = 1.0
    ) -> None:
        if not 0 < restart <= 1:
            raise SettingsError(f"restart is the weight that the past keeps, in (0, 1], got {restart}.")
        self.limit = cusum_limit(rate, frames, allowance)
        self.online, self.allowance, self.restart = online, allowance, restart
        e = len(next(iter(online.adapted.contexts.values())))
        self.level = torch.zeros(e, dtype=torch.float64)
        self.flagged = torch.zeros(e, dtype=torch.bool)
        self.time = torch.full((e,), torch.nan, dtype=torch.float64)
        self.began = self.time.clone()
        self._rose = self.time.clone()

    def update(self, more: Trajectories) -> Adapted:
        """Take in frames that follow those seen so far; see :meth:`OnlineAdapter.update`.

        Where an error is raised, the frames before the one that caused it are in.
        """
        require_trajectories(more, "update")
        for k in range(len(more.times)):
            self.online.update(more.select(frames=slice(k, k + 1)))
            assert self.online.innovation is not None
            self._watch(self.online.innovation)
        return self.online.adapted

    def _watch(self, innovation: Innovation) -> None:
        self._rose = torch.where(self.level > 0, self._rose, torch.full_like(self.level, innovation.time))
        seen = innovation.degrees.cpu() > 0
        level = torch.where(seen, (self.level + score(innovation) - self.allowance).clamp_min(0), self.level)
        alarm = level > self.limit
        first = alarm & ~self.flagged
        self.time = torch.where(first, torch.full_like(self.time, innovation.time), self.time)
        self.began = torch.where(first, self._rose, self.began)
        self.flagged = self.flagged | alarm
        if self.restart < 1 and bool(alarm.any()):
            keep = torch.where(alarm, self.restart, 1.0).double()
            self.online.forget(keep)
        # Counting starts again after an alarm.
        self.level = torch.where(alarm, torch.zeros_like(level), level)

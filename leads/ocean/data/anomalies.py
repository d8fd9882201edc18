"""Anomalies: what is left of a field without its mean, its season and its size, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from leads.errors import DataError, ShapeError, UnknownNameError
from leads.ocean.data.windows import Windows
from leads.registry import nearest

CLIMATOLOGIES = ("none", "mean", "annual")
#: Days that data must span for an annual cycle to be told from a trend.
LEAST_DAYS = 300


@dataclass(frozen=True)
class Anomalies:
    """``anomaly = (field - frame mean - climatology) / scale``, with all numbers from training frames.

    Attributes:
        climatology: ``(E, K, C, y, x)`` float64: the time mean (K = 1), or mean, cosine and sine of a year (K = 3); zero
            where there is none, and where a cell was never observed.
        scale: ``(C,)``, shared by all environments.
        frame_mean: whether the mean over the window's sea is taken off every frame: the seasonal rise of a basin, which
            the flow does not feel. A forecast of the anomaly then goes back with a mean of its own, see :meth:`invert`.
        sea: ``(E, C, y, x)``.

    Nothing is fitted to test frames, and a new environment brings only what its support shows (:meth:`of`).
    """

    climatology: Tensor
    scale: Tensor
    frame_mean: bool
    sea: Tensor

    @classmethod
    def fit(
        cls, train: Windows, *, frame_mean: bool = False, climatology: str = "mean", scaled: bool = True
    ) -> Anomalies:
        """The statistics of training windows.

        Args:
            train: training environments at training times.
            frame_mean: see above.
            climatology: ``"none"``, ``"mean"`` (of each cell over the frames) or ``"annual"`` (and a yearly cycle, for
                frames that span 300 days or more).
            scaled: whether to divide by the standard deviation of what is left, one a channel.

        Raises:
            UnknownNameError: another climatology. DataError: too short a span for a year, or nothing observed.
        """
        if climatology not in CLIMATOLOGIES:
            raise UnknownNameError(f"No climatology is named {climatology!r}. {nearest(climatology, CLIMATOLOGIES)}")
        raw = cls(
            _nothing(train, 3 if climatology == "annual" else 1),
            torch.ones(train.sea.shape[1], dtype=torch.float64),
            frame_mean,
            train.sea,
        )
        raw = replace(raw, climatology=raw._climatology(train, climatology))
        if not scaled:
            return raw
        left, seen = raw._left(train)
        count = seen.movedim(3, 0).flatten(1).sum(1)
        if not bool((count > 0).all()):
            names = [c.name for c in train.trajectories.channels]
            raise DataError(
                f"{names[int((count == 0).nonzero()[0])]} is never observed in the training windows. Leave it out, quantities=."
            )
        variance = left.square().movedim(3, 0).flatten(1).sum(1) / count
        return replace(raw, scale=torch.where(variance > 0, variance.sqrt(), 1.0))

    def of(self, support: Windows) -> Anomalies:
        """The statistics of other environments: a climatology from their support, the scale of the training ones.

        Args:
            support: what is known of the new environments, and nothing else.
        """
        kinds = {1: "mean", 3: "annual"}
        kind = kinds[self.climatology.shape[1]] if bool(self.climatology.any()) else "none"
        fresh = replace(self, climatology=_nothing(support, self.climatology.shape[1]), sea=support.sea)
        return replace(fresh, climatology=fresh._climatology(support, kind))

    def select(self, environments: list[int] | slice) -> Anomalies:
        """Of some environments."""
        return replace(self, climatology=self.climatology[environments], sea=self.sea[environments])

    def apply(self, data: Windows) -> Windows:
        """The anomalies: zero and masked where nothing was observed, so that networks see the mean there.

        Raises:
            ShapeError: other environments, channels or cells than these.
        """
        left, seen = self._left(data)
        values = torch.where(seen, left / self._wide(self.scale), 0.0).to(data.trajectories.states.dtype)
        channels = tuple(
            replace(c, unit="1", long_name=f"standardised anomaly of {c.long_name or c.name}")
            for c in data.trajectories.channels
        )
        return replace(data, trajectories=replace(data.trajectories, states=values, channels=channels))

    def means(self, data: Windows) -> Tensor:
        """Mean over the sea of every frame, ``(E, N, T, C)`` float64: zeros where frame means stay in."""
        x, seen = _observed(data)
        if not self.frame_mean:
            return x.new_zeros(x.shape[:4])
        return torch.where(seen, x, 0.0).flatten(4).sum(4) / seen.flatten(4).sum(4).clamp_min(1)

    def invert(self, anomalies: Tensor, dates: np.ndarray, means: Tensor | None = None) -> Tensor:
        """Fields from anomalies, NaN on land.

        Args:
            anomalies: ``(E, N, T, C, y, x)``.
            dates: of the frames, ``(E, N, T)`` ``datetime64`` (:meth:`Windows.dates`); they count with an annual cycle.
            means: frame means ``(E, N, T, C)``, or ``(E, N, 1, C)`` where a forecast keeps the one that it started with;
                needed where they were taken off.

        Raises:
            DataError: frame means were taken off and are not given. ShapeError: other axes.
        """
        self._fits(anomalies)
        if self.frame_mean and means is None:
            raise DataError(
                "The mean of every frame was taken off, and nothing says what to put back. Give means=: anomalies.means(data) of the same "
                "frames, or of the frame that the forecast started from, anomalies.means(data)[:, :, :1]."
            )
        x = anomalies.double() * self._wide(self.scale).to(anomalies.device) + self._season(dates).to(anomalies.device)
        if means is not None:
            x = x + means.to(x)[..., None, None]
        # After the way back: zero on land is a height, and would pollute means and maps.
        return torch.where(self.sea[:, None, None].to(x.device), x, torch.nan)

    def invert_error(self, deviation: Tensor) -> Tensor:
        """Standard errors ``(E, N, T, C, y, x)`` of anomalies in the units of the fields, NaN on land."""
        self._fits(deviation)
        x = deviation.double() * self._wide(self.scale).to(deviation.device)
        return torch.where(self.sea[:, None, None].to(x.device), x, torch.nan)

    def _fits(self, x: Tensor) -> None:
        e, _, c, y, w = self.climatology.shape
        if x.ndim != 6 or (x.shape[0], *x.shape[3:]) != (e, c, y, w):
            raise ShapeError(
                f"These statistics are of {e} environments with states (C, y, x) = {(c, y, w)}; got (E, N, T, C, y, x) = {tuple(x.shape)}. "
                "Statistics of new environments are anomalies.of(support)."
            )

    def _wide(self, per_channel: Tensor) -> Tensor:
        return per_channel[:, None, None]

    def _left(self, data: Windows) -> tuple[Tensor, Tensor]:
        x, seen = _observed(data)
        self._fits(x)
        left = x - self.means(data)[..., None, None] - self._season(data.dates())
        return torch.where(seen, left, 0.0), seen

    def _season(self, dates: np.ndarray) -> Tensor:
        """The climatology at dates ``(E, N, T)``: ``(E, N, T, C, y, x)``, or with axes of one."""
        if self.climatology.shape[1] == 1:
            return self.climatology[:, None]
        return torch.einsum("entk,ekcyx->entcyx", _annual(dates), self.climatology)

    def _climatology(self, data: Windows, kind: str) -> Tensor:
        if kind == "none":
            return self.climatology
        x, seen = _observed(data)
        x = torch.where(seen, x - self.means(data)[..., None, None], 0.0)
        if kind == "mean":
            return (x.sum((1, 2)) / seen.sum((1, 2)).clamp_min(1))[:, None]
        dates = data.dates()
        span = (np.nanmax(dates) - np.nanmin(dates)) / np.timedelta64(1, "D")
        if span < LEAST_DAYS:
            raise DataError(
                f"An annual cycle needs frames that span {LEAST_DAYS} days, these span {span:g}. Use climatology='mean', or more data."
            )
        basis, weight = _annual(dates), seen.double()
        gram = torch.einsum("enti,entj,entcyx->ecyxij", basis, basis, weight)
        right = torch.einsum("enti,entcyx->ecyxi", basis, x)
        small = 1e-9 * weight.sum((1, 2)).clamp_min(1.0)[..., None, None] * torch.eye(3, dtype=torch.float64)
        found = torch.linalg.solve(gram + small, right[..., None])[..., 0]
        return found.movedim(-1, 1)


def _observed(data: Windows) -> tuple[Tensor, Tensor]:
    x = data.trajectories.states.double()
    seen = torch.isfinite(x) if data.trajectories.mask is None else data.trajectories.mask & torch.isfinite(x)
    return torch.where(seen, x, 0.0), seen


def _nothing(data: Windows, k: int) -> Tensor:
    e, c, y, x = data.sea.shape
    return torch.zeros(e, k, c, y, x, dtype=torch.float64)


def _annual(dates: np.ndarray) -> Tensor:
    """``(..., 3)``: one, cosine and sine of the time of the year; zero where there is no date."""
    known = ~np.isnat(dates)
    days = np.where(known, (dates - np.datetime64("2000-01-01", "ns")) / np.timedelta64(1, "D"), 0.0)
    angle = torch.as_tensor(2 * math.pi * days / 365.2425)
    return torch.stack([torch.ones_like(angle), angle.cos(), angle.sin()], -1) * torch.as_tensor(known)[..., None]

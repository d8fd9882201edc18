"""Forecasts from frames with gaps: optimal and linear interpolation in space and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leads.errors import SettingsError
from leads.ocean.baselines.baseline import Baseline, held, last_known
from leads.ocean.baselines.optimal import Analysis, Covariance, Window, optimal_interpolation


@dataclass(frozen=True)
class OptimalInterpolation(Baseline):
    """Optimal interpolation of the past frames' observations, carried on in time by their covariance: with the lead the
    forecast falls back on the mean, ``window.reach`` scales after the last observation entirely. Along-track observations are frames that are NaN off the tracks.

    Attributes:
        covariance: lt in s, ly and lx in the unit of ``spacing``.
        spacing: of points along y and x.
        mean: what the field falls back on, broadcasting against ``(E, N, C, Y, X)``; None takes the mean of each
            trajectory's observations.
        window: see :class:`Window`, the default.
        every: takes every so-manieth frame, row and column of the past (from the last frame, and the middle of a stride):
            dense frames hold far more points than they hold information.

    Raises:
        SettingsError: values that are not positive.
    """

    covariance: Covariance
    spacing: tuple[float, float]
    mean: Tensor | None = None
    window: Window | None = None
    every: tuple[int, int, int] = (1, 1, 1)

    def __post_init__(self) -> None:
        if not (min(self.spacing) > 0 and min(self.every) >= 1):
            raise SettingsError(f"Spacings and strides must be positive, got {self.spacing} and {self.every}.")

    def analyse(self, past: Tensor, past_times: Tensor, leads: Tensor) -> tuple[Tensor, Tensor]:
        """Forecast and the variance of its error over that of the signal, both ``(E, N, T, C, Y, X)``.

        Leads may be negative here: maps between the past frames, from observations before and after.
        """
        return self._analyse(past, past_times, leads, errors=True)

    def _forecast(self, past: Tensor, past_times: Tensor, leads: Tensor) -> Tensor:
        return self._analyse(past, past_times, leads, errors=False)[0]

    def _analyse(self, past: Tensor, past_times: Tensor, leads: Tensor, errors: bool) -> tuple[Tensor, Tensor]:
        e, n, _, c, ny, nx = past.shape
        mean = past.movedim(3, 2).flatten(3).nanmean(3)[..., None, None] if self.mean is None else self.mean.to(past)
        mean = torch.as_tensor(mean).expand(e, n, c, ny, nx)
        rows, columns = torch.arange(ny).double() * self.spacing[0], torch.arange(nx).double() * self.spacing[1]
        st, sy, sx = self.every
        thin = (slice((len(past_times) - 1) % st, None, st), slice(sy // 2, None, sy), slice(sx // 2, None, sx))
        clock = past_times - past_times[-1]
        places = torch.cartesian_prod(clock[thin[0]], rows[thin[1]], columns[thin[2]]).reshape(-1, 3)
        anomaly = (past - mean[:, :, None])[:, :, thin[0], :, thin[1], thin[2]].movedim(3, 2)
        found: Analysis = optimal_interpolation(
            anomaly.reshape(e * n * c, -1), places, (leads, rows, columns), self.covariance, self.window, errors=errors
        )
        shaped = lambda x: x.reshape(e, n, c, len(leads), ny, nx).movedim(2, 3)  # noqa: E731
        return shaped(found.mean) + mean[:, :, None], shaped(found.variance)


@dataclass(frozen=True)
class LinearInterpolation(Baseline):
    """A map of the last past frame by linear interpolation between the observations, held at every lead.

    Linear on the Delaunay tetrahedra of the observations in (t, y, x), each over its scale; the nearest observation
    outside of them (:class:`scipy.interpolate.LinearNDInterpolator`, on the CPU). Points observed in a frame keep their
    value.

    Attributes:
        scales: of t (s), y and x (unit of ``spacing``): what counts as equally far. Those of optimal interpolation do.
        spacing: of points along y and x.
        hold: observations of the last ``hold`` seconds count as made at the last frame, the newest at each point, for a
            forecast: without it only the last frame's own observations lie there. None takes the scale of t.

    Raises:
        SettingsError: values that are not positive.
    """

    scales: tuple[float, float, float]
    spacing: tuple[float, float]
    hold: float | None = None

    def __post_init__(self) -> None:
        if not (min(self.scales) > 0 and min(self.spacing) > 0 and (self.hold is None or self.hold >= 0)):
            raise SettingsError(
                f"Scales and spacings must be positive and hold not negative, got {self.scales}, {self.spacing}, {self.hold}."
            )

    def fill(self, past: Tensor, past_times: Tensor) -> Tensor:
        """The frames with their gaps filled in space and time, ``(E, N, T0, C, Y, X)``."""
        return self._filled(past, past_times, slice(None))

    def _forecast(self, past: Tensor, past_times: Tensor, leads: Tensor) -> Tensor:
        hold = self.scales[0] if self.hold is None else self.hold
        recent = past_times >= past_times[-1] - hold
        moved = torch.cat([past[:, :, :-1], last_known(past[:, :, recent.to(past.device)])[:, :, None]], 2)
        return held(self._filled(moved, past_times, slice(-1, None))[:, :, 0], leads)

    def _filled(self, past: Tensor, past_times: Tensor, frames: slice) -> Tensor:
        wanted = past[:, :, frames]
        gaps = ~torch.isfinite(wanted)
        if not bool(gaps.any()):
            return wanted
        t0, c, ny, nx = past.shape[2:]
        axes = (past_times - past_times[-1], torch.arange(ny) * self.spacing[0], torch.arange(nx) * self.spacing[1])
        scaled = torch.cartesian_prod(*(a.double() / s for a, s in zip(axes, self.scales, strict=True)))
        values = past.movedim(3, 2).reshape(-1, t0, ny * nx).detach().cpu().double().numpy()
        filled = _fill(values, scaled.reshape(t0, ny * nx, 3).numpy(), frames)
        shaped = torch.as_tensor(filled).to(past).reshape(*past.shape[:2], c, -1, ny, nx).movedim(3, 2)
        return torch.where(gaps, shaped, wanted)


def _fill(values: np.ndarray, places: np.ndarray, frames: slice) -> np.ndarray:
    """Frames ``(B, T, G)`` of ``values (B, T0, G)`` at ``places (T0, G, 3)``; fields with the same gaps share one
    triangulation."""
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
    from scipy.spatial import QhullError

    known = np.isfinite(values)
    patterns, which = np.unique(known.reshape(len(known), -1), axis=0, return_inverse=True)
    out = values[:, frames].copy()
    for i, pattern in enumerate(patterns):
        members = np.flatnonzero(which.ravel() == i)
        seen = pattern.reshape(values.shape[1:])
        wanted = ~seen[frames]
        at, data, to = places[seen], values[members][:, seen].T, places[frames][wanted]
        filled = NearestNDInterpolator(at, data)(to)
        try:
            # A frame alone, or a line of points, spans no tetrahedra.
            flat = [a for a in range(3) if np.ptp(at[:, a]) > 0]
            linear = LinearNDInterpolator(at[:, flat], data)(to[:, flat])
            filled = np.where(np.isfinite(linear), linear, filled)
        except (QhullError, ValueError):
            pass
        block = out[members]
        block[:, wanted] = filled.T
        out[members] = block
    return out

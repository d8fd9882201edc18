"""Spectra in longitude and time, and the wavelengths and periods down to which a map resolves the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.errors import DataError, UnknownNameError
from leads.ocean.scores.checks import long_enough, same_shape, spacing
from leads.registry import nearest

Detrend = Literal["constant", "linear"]
DETRENDS = ("constant", "linear")
PATHS = ("first", "longest", "all")
Axis = float | Sequence[float] | Tensor


@dataclass(frozen=True)
class SpaceTimeSpectrum:
    """Power of waves that travel towards decreasing x (westward): the quadrant the challenge scores.

    Attributes:
        frequency: cycles per unit of time, positive, below the Nyquist one, ``(F,)``.
        wavenumber: cycles per unit of length, likewise, ``(K,)``.
        density: two-sided power spectral density, field unit^2 x unit of time x unit of length, ``(..., F, K)``.
    """

    frequency: Tensor
    wavenumber: Tensor
    density: Tensor


@dataclass(frozen=True)
class SpectralScore:
    """How well waves of each period and wavelength are mapped.

    Attributes:
        period: unit of time, decreasing, ``(F,)``.
        wavelength: unit of length, decreasing, ``(K,)``.
        score: ``1 - PSD(error) / PSD(truth)``, ``(..., F, K)``.
        lambda_x, lambda_t: smallest wavelength and period on the contour of 0.5, ``(...)``. Where no contour exists: the
            shortest wavelength and period of the spectrum if all of it scores above the level, infinity if none does.
    """

    period: Tensor
    wavelength: Tensor
    score: Tensor
    lambda_x: Tensor
    lambda_t: Tensor


def space_time_spectrum(
    field: Tensor,
    time: Axis,
    x: Axis,
    *,
    detrend: Detrend = "constant",
    window: str = "hann",
    rows: Tensor | None = None,
) -> SpaceTimeSpectrum:
    """Spectral density in time and x, averaged over y.

    ``|sum_tx w_t w_x (h - trend) exp(-2 pi i (f t + k x))|^2 dt dx / (sum w_t^2 sum w_x^2)`` for each row y, then the mean
    over rows without land. The trend is the mean of a row's (t, x) plane, or a plane fitted to it.

    Args:
        field: ``(..., T, Y, X)``; rows (in y) with any NaN are left out.
        time, x: spacing, or uniform coordinate.
        detrend: ``"constant"`` or ``"linear"``.
        window: any of :func:`scipy.signal.get_window`, in its periodic form.
        rows: True where a row counts, ``(..., Y)``; by default those that are complete.

    Raises:
        ShapeError: an axis that is too short (5 points are needed) or does not fit.
        SettingsError: a coordinate that is not uniform.
        DataError: no row without land.
        UnknownNameError: unknown trend.
    """
    if detrend not in DETRENDS:
        raise UnknownNameError(f"No trend is named {detrend!r}. {nearest(str(detrend), DETRENDS)}")
    same_shape(field, field, 3, "field")
    nt, nx = field.shape[-3], field.shape[-1]
    long_enough(nt, "time")
    long_enough(nx, "x")
    dt, dx = spacing(time, nt, "time"), spacing(x, nx, "x")
    h = field.movedim(-2, -3)
    complete = torch.isfinite(h).flatten(-2).all(-1) if rows is None else rows
    if not bool(complete.any(-1).all()):
        raise DataError(
            "No row of the window is free of land and gaps at all times, so it has no spectrum along x. Choose a window "
            "at sea, or fill the gaps."
        )
    h = torch.where(complete[..., None, None], h, torch.zeros_like(h))
    h = _detrended(h, detrend)
    wt, wx = _window(window, nt, h), _window(window, nx, h)
    modes = torch.fft.fft2(h * wt[:, None] * wx)[..., 1 : (nt + 1) // 2, 1 : (nx + 1) // 2]
    power = (modes.real.square() + modes.imag.square()) * (dt * dx / (wt.square().sum() * wx.square().sum()))
    mean = power.sum(-3) / complete.sum(-1)[..., None, None]
    count = lambda n, d: torch.arange(1, (n + 1) // 2, dtype=torch.float64) / (n * d)  # noqa: E731
    return SpaceTimeSpectrum(count(nt, dt), count(nx, dx), mean)


def spectral_score(
    estimate: Tensor,
    truth: Tensor,
    time: Axis,
    x: Axis,
    *,
    detrend: Detrend = "constant",
    window: str = "hann",
    level: float = 0.5,
    path: Literal["first", "longest", "all"] = "first",
) -> SpectralScore:
    """Effective resolution of maps in longitude and time.

    Source: the 2020a challenge (see :func:`leads.ocean.scores.mapping_score`), PSD-based scores: spectra of error and
    truth in (time, longitude) with their means removed and a Hann window, averaged over latitude; their ratio is
    contoured over wavelength and period, and the smallest wavelength and period of the first contour line are the scores.

    Args:
        estimate, truth: maps ``(..., T, Y, X)``; rows in y with land or gaps in either are left out of both spectra.
        time, x: spacing, or uniform coordinate; its unit is that of the scores (days and degrees in the challenge).
        detrend, window: see :func:`space_time_spectrum`.
        level: of the contour.
        path: ``"first"`` contour line, as published, which may be an island in a noisy score; the ``"longest"``, of most
            points; or the smallest over ``"all"`` lines.

    Raises:
        ShapeError, SettingsError, DataError: see :func:`space_time_spectrum`.
        UnknownNameError: unknown trend or path.
    """
    if path not in PATHS:
        raise UnknownNameError(f"No choice of contour lines is named {path!r}. {nearest(str(path), PATHS)}")
    same_shape(estimate, truth, 3)
    rows = torch.isfinite(estimate - truth).all(-1).all(-2)
    spectrum = lambda h: space_time_spectrum(h, time, x, detrend=detrend, window=window, rows=rows)  # noqa: E731
    signal, error = spectrum(truth), spectrum(estimate - truth)
    score = 1 - error.density / signal.density
    period, wavelength = 1 / signal.frequency, 1 / signal.wavenumber
    flat = score.detach().cpu().double().reshape(-1, *score.shape[-2:]).numpy()
    ends = np.array([_shortest(wavelength.numpy(), period.numpy(), z, level, path) for z in flat])
    found = torch.as_tensor(ends, device=score.device, dtype=score.dtype).reshape(*score.shape[:-2], 2)
    return SpectralScore(period, wavelength, score, found[..., 0], found[..., 1])


def _shortest(x: np.ndarray, y: np.ndarray, score: np.ndarray, level: float, path: str) -> tuple[float, float]:
    """Smallest x and y on the contour of ``score (len(y), len(x))``."""
    from contourpy import contour_generator

    z = np.ma.masked_invalid(score)
    # The lines of matplotlib's contour, in its order.
    generator = contour_generator(x, y, z, name="mpl2014", line_type="SeparateCode")
    lines = [np.asarray(line) for line in generator.lines(level)[0] or ()]
    if not lines:
        return (float(x.min()), float(y.min())) if bool((z > level).all()) else (np.inf, np.inf)
    points = {"first": lines[0], "longest": max(lines, key=len), "all": np.concatenate(lines)}[path]
    return float(points[:, 0].min()), float(points[:, 1].min())


def _window(name: str, n: int, like: Tensor) -> Tensor:
    from scipy.signal import get_window

    return torch.as_tensor(get_window(name, n), dtype=like.dtype, device=like.device)


def _detrended(h: Tensor, detrend: str) -> Tensor:
    """Without the mean, or the plane of least squares, over the last two axes."""
    h = h - h.mean((-2, -1), keepdim=True)
    if detrend == "constant":
        return h
    for axis in (-2, -1):
        # Centred coordinates of a full grid are orthogonal to each other: one slope after the other is exact.
        n = h.shape[axis]
        t = torch.arange(n, dtype=h.dtype, device=h.device) - (n - 1) / 2
        t = t[:, None] if axis == -2 else t
        other = h.shape[-1] if axis == -2 else h.shape[-2]
        h = h - t * ((h * t).sum((-2, -1), keepdim=True) / (t.square().sum() * other))
    return h

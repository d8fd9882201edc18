"""Scores of maps against an altimeter that they have not seen, as the 2021a mapping challenge takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leads.errors import DataError, SettingsError, ShapeError
from leads.ocean.scores.checks import long_enough, valid

DAY = 86400.0
#: Cryosat-2: seconds between two measurements, and km along the ground in that time.
SAMPLING, STEP = 0.9434, 0.9434 * 6.77


@dataclass(frozen=True)
class DailyScore:
    """Attributes:
    mu, sigma: mean and standard deviation over days of ``1 - rmse / rms(along track)``, ``(...)``, without unit.
    in_time: that score on each day, ``(..., days)``; NaN on days with too few observations.
    count: observations on each day, ``(days,)``.
    """

    mu: Tensor
    sigma: Tensor
    in_time: Tensor
    count: Tensor


@dataclass(frozen=True)
class TrackSpectralScore:
    """Attributes:
    wavelength: km, decreasing, ``(K,)``.
    score: ``1 - PSD(error) / PSD(along track)``, ``(..., K)``.
    density, density_estimate, density_error: one-sided power spectral densities, m2 / (cycle / km) for heights in m,
        ``(K,)`` (truth) and ``(..., K)``.
    lambda_x: effective resolution in km, ``(...)``: see :func:`first_crossing`.
    segments: how many stretches of track were averaged.
    """

    wavelength: Tensor
    score: Tensor
    density: Tensor
    density_estimate: Tensor
    density_error: Tensor
    lambda_x: Tensor
    segments: int


def daily_score(
    estimate: Tensor, truth: Tensor, time: Tensor, *, least: int = 10, bin_length: float = DAY
) -> DailyScore:
    """Score of maps along the track of an independent altimeter, by day.

    Source: the 2021a challenge (github.com/ocean-data-challenges/2021a_SSH_mapping_OSE), statistical scores: bins of a day
    from midnight, those with fewer than ten observations left out.

    Args:
        estimate: the maps, interpolated onto the track, ``(..., M)``; leading axes are a batch.
        truth: along the track, ``(M,)``; NaN is left out.
        time: of each observation, seconds since a midnight, ``(M,)``, in any order.
        least: observations that a bin needs.
        bin_length: seconds.

    Raises:
        ShapeError: axes that do not fit.
        DataError: an estimate that is missing where the truth is known, or no bin with enough observations.
    """
    truth, wide = _track(estimate, truth, time)
    keep = valid(estimate, wide, None, "Along-track score", "setting the truth to NaN there")
    day = torch.floor(time.to(torch.float64) / bin_length).long()
    day = (day - day.min()).to(truth.device)
    n = int(day.max()) + 1
    zero = torch.zeros((), dtype=truth.dtype, device=truth.device)
    sums = lambda x: x.new_zeros(*x.shape[:-1], n).index_add(-1, day, x)  # noqa: E731
    known = torch.isfinite(truth)
    count = sums(known.to(truth))
    error = sums(torch.where(keep, estimate - wide, zero).square())
    signal = sums(torch.where(known, truth, zero).square())
    score = torch.where(count >= least, 1 - (error / signal).sqrt(), torch.nan)
    if not bool((count >= least).any()):
        raise DataError(
            f"No day has {least} observations; the fullest one has {int(count.max())}. Take a longer stretch."
        )
    mu = score.nanmean(-1)
    sigma = (score - mu.unsqueeze(-1)).square().nanmean(-1).sqrt()
    return DailyScore(mu, sigma, score, count.long())


def track_segments(
    time: np.ndarray, npt: int, *, gap: float = 4.0, overlap: float = 0.25, published: bool = False
) -> np.ndarray:
    """First indices of stretches of ``npt`` observations without a gap, one every ``overlap`` of a stretch.

    Args:
        time: seconds, increasing, ``(M,)``.
        npt: observations of a stretch.
        gap: a track is cut where two observations are further apart, seconds.
        overlap: distance of two starts, in lengths of a stretch.
        published: the challenge's indices: there a track starts with the last observation before its gap, ends before
            its last possible stretch, and the last track of the record is dropped.
    """
    cuts = np.flatnonzero(np.diff(time) > gap)
    if published:
        starts, ends, last = np.r_[0, cuts[:-1]], cuts, 0
    else:
        starts, ends, last = np.r_[0, cuts + 1], np.r_[cuts + 1, len(time)], 1
    step = max(1, int(npt * overlap))
    runs = [np.arange(a, b - npt + last, step) for a, b in zip(starts, ends, strict=False) if b - a >= npt]
    return np.concatenate(runs) if runs else np.zeros(0, dtype=int)


def track_spectral_score(
    estimate: Tensor,
    truth: Tensor,
    time: Tensor,
    *,
    length: float = 1000.0,
    step: float = STEP,
    gap: float = 4.0,
    overlap: float = 0.25,
    level: float = 0.5,
    published: bool = False,
) -> TrackSpectralScore:
    """Effective resolution of maps along the track of an independent altimeter.

    Source: the 2021a challenge, spectral scores: stretches of 1000 km (156 observations of Cryosat-2), a new one every
    quarter of that, tracks cut at gaps of more than 4 s; each stretch's mean is removed and a Hann window laid over it
    (Welch's method without further overlap, :func:`scipy.signal.welch`); spectra of error and truth are averaged.

    Args:
        estimate: the maps, interpolated onto the track, ``(..., M)``; leading axes are a batch.
        truth: along the track, ``(M,)``. Observations missing in the truth or in any map are left out, as published, and
            count as a gap where they last longer than one.
        time: seconds, increasing, ``(M,)``.
        length, step: of a stretch, and from one observation to the next, km.
        gap, overlap, published: see :func:`track_segments`.
        level: of the crossing.

    Raises:
        ShapeError: axes that do not fit, or a stretch of fewer than five observations.
        SettingsError: times that do not increase, or settings that are not positive.
        DataError: no track is long enough.
    """
    if not (length > 0 and step > 0 and gap > 0 and 0 < overlap <= 1):
        raise SettingsError(
            f"Lengths, steps and gaps are positive and an overlap is in (0, 1], got {length}, {step}, {gap}, {overlap}."
        )
    from scipy.signal import welch

    truth, wide = _track(estimate, truth, time)
    npt = int(length / step)
    long_enough(npt, f"the track (stretches of {length:g} km in steps of {step:g} km)")
    use = torch.isfinite(estimate + wide).reshape(-1, len(time)).all(0).cpu()
    when = time.detach().cpu().double()[use].numpy()
    if bool((np.diff(when) <= 0).any()):
        raise SettingsError("Along-track times must increase; sort the observations by time first.")
    starts = track_segments(when, npt, gap=gap, overlap=overlap, published=published)
    if len(starts) == 0:
        raise DataError(
            f"No stretch of {npt} observations ({length:g} km) without a gap of more than {gap:g} s. Take a longer record "
            "or a shorter length."
        )
    index = starts[:, None] + np.arange(npt)
    stretches = lambda x: x.detach().cpu().double()[..., use].numpy()[..., index].reshape(*x.shape[:-1], -1)  # noqa: E731
    density = lambda x: welch(x, fs=1 / step, nperseg=npt, noverlap=0, scaling="density")  # noqa: E731
    own, map_ = stretches(truth), stretches(estimate)
    wavenumber, signal = density(own)
    study, error = density(map_)[1], density(map_ - own)[1]
    wavelength = 1 / wavenumber[1:]
    score = 1 - error[..., 1:] / signal[1:]
    place = lambda x: torch.as_tensor(np.ascontiguousarray(x), device=truth.device)  # noqa: E731
    return TrackSpectralScore(
        place(wavelength),
        place(score),
        place(signal[1:]),
        place(study[..., 1:]),
        place(error[..., 1:]),
        first_crossing(place(wavelength), place(score), level),
        len(starts),
    )


def first_crossing(wavelength: Tensor, score: Tensor, level: float = 0.5) -> Tensor:
    """Wavelength at which a score first falls to ``level``, coming from long waves; linear between two wavelengths.

    Equal to the challenge's interpolation where the score falls throughout; that sorts other scores by their value first.
    Infinite where the longest wave is below the level already; the shortest wavelength where none is.

    Args:
        wavelength: decreasing, ``(K,)``.
        score: ``(..., K)``.
    """
    if wavelength.ndim != 1 or score.shape[-1:] != wavelength.shape:
        raise ShapeError(
            f"A score {tuple(score.shape)} needs one wavelength for each entry, got {tuple(wavelength.shape)}."
        )
    below = score < level
    first = torch.where(below.any(-1), below.to(torch.uint8).argmax(-1), score.shape[-1])
    at = first.clamp(1, score.shape[-1] - 1)
    s1, s0 = score.gather(-1, at[..., None])[..., 0], score.gather(-1, at[..., None] - 1)[..., 0]
    w1, w0 = wavelength[at], wavelength[at - 1]
    crossing = w0 + (w1 - w0) * (s0 - level) / (s0 - s1)
    crossing = torch.where(first == score.shape[-1], wavelength[-1], crossing)
    return torch.where(first == 0, math.inf, crossing)


def _track(estimate: Tensor, truth: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """The truth, and the truth of the shape of the estimate."""
    if truth.ndim != 1 or time.shape != truth.shape or estimate.shape[-1:] != truth.shape:
        raise ShapeError(
            f"Along a track the truth and the times have shape (M,) and estimates (..., M), got {tuple(truth.shape)}, "
            f"{tuple(time.shape)} and {tuple(estimate.shape)}."
        )
    return truth, truth.expand(estimate.shape)

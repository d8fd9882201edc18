"""Energy spectra of planes: isotropic and along x."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from leads.errors import DataError, SettingsError
from leads.numerics import SpectralGrid
from leads.ocean.scores.checks import long_enough, same_shape


@dataclass(frozen=True)
class Spectrum:
    """Attributes:
    wavenumber: cycles per unit of length, increasing, ``(K,)``.
    density: unit of the field squared x unit of length, ``(..., K)``.
    """

    wavenumber: Tensor
    density: Tensor


def isotropic_spectrum(field: Tensor, spacing: tuple[float, float], *, periodic: bool = False) -> Spectrum:
    """Variance per isotropic wavenumber: in a periodic box its sum times ``1 / max(L)`` is the variance of the field.

    Modes are added in rings ``dk = 1 / max(L_y, L_x)`` wide. Windows that are not periodic lose their mean and are tapered
    by a Hann window along both axes; its loss of variance is made good.

    Args:
        field: ``(..., Y, X)``, without NaN.
        spacing: of points along y and x.
        periodic: no window.

    Raises:
        ShapeError: sides of fewer than five points.
        SettingsError: a spacing that is not positive.
        DataError: NaN or infinite values.
    """
    h, (ny, nx) = _plane(field), field.shape[-2:]
    _positive(*spacing)
    grid = SpectralGrid((ny, nx), (ny * spacing[0], nx * spacing[1])).to(h)
    h = h - h.mean((-2, -1), keepdim=True)
    if not periodic:
        w = _hann(ny, h)[:, None] * _hann(nx, h)
        h = h * w / w.square().mean().sqrt()
    return Spectrum(grid.bins / (2 * math.pi), grid.isotropic_spectrum(grid.forward(h)) * max(grid.lengths))


def zonal_spectrum(field: Tensor, dx: float) -> Spectrum:
    """One-sided variance per wavenumber along x, averaged over y; rows with land are left out.

    By :func:`scipy.signal.periodogram`'s definition with a Hann window and the rows' means removed.

    Args:
        field: ``(..., Y, X)``.
        dx: distance of points.

    Raises:
        ShapeError: fewer than five points along x.
        SettingsError: a spacing that is not positive.
        DataError: no row without land.
    """
    same_shape(field, field, 2, "field")
    n = field.shape[-1]
    long_enough(n, "x")
    _positive(dx)
    complete = torch.isfinite(field).all(-1, keepdim=True)
    if not bool(complete.any(-2).all()):
        raise DataError("No row of the window is free of land, so it has no spectrum along x. Choose a window at sea.")
    h = torch.where(complete, field, torch.zeros_like(field))
    w = _hann(n, h)
    modes = torch.fft.rfft((h - h.mean(-1, keepdim=True)) * w)[..., 1:]
    power = (modes.real.square() + modes.imag.square()) * (dx / w.square().sum())
    order = torch.arange(1, n // 2 + 1, dtype=h.dtype, device=h.device)
    # Every wave has a partner of negative wavenumber but that at Nyquist.
    sides = torch.where(2 * order == n, 1.0, 2.0)
    mean = (power * sides).sum(-2) / complete.sum((-2, -1))[..., None]
    return Spectrum(order / (n * dx), mean)


def kinetic_energy_spectrum(u: Tensor, v: Tensor, spacing: tuple[float, float], *, periodic: bool = False) -> Spectrum:
    """Isotropic spectrum of ``(u^2 + v^2) / 2``: m3/s2 against cycles/m for velocities in m/s and lengths in m.

    Args and errors as for :func:`isotropic_spectrum`.
    """
    same_shape(u, v, 2, "eastward velocity")
    east, north = (isotropic_spectrum(x, spacing, periodic=periodic) for x in (u, v))
    return Spectrum(east.wavenumber, (east.density + north.density) / 2)


def _plane(field: Tensor) -> Tensor:
    same_shape(field, field, 2, "field")
    for axis, name in ((-2, "y"), (-1, "x")):
        long_enough(field.shape[axis], name)
    if not bool(torch.isfinite(field).all()):
        raise DataError(
            f"An isotropic spectrum needs a plane without land and gaps; {int((~torch.isfinite(field)).sum())} values are "
            "missing. Choose a window at sea, fill the gaps, or take zonal_spectrum, which leaves out rows with land."
        )
    return field


def _positive(*spacing: float) -> None:
    if not all(0 < s < math.inf for s in spacing):
        raise SettingsError(f"Spacings must be positive and finite, got {spacing}.")


def _hann(n: int, like: Tensor) -> Tensor:
    return torch.hann_window(n, periodic=True, dtype=like.dtype, device=like.device)

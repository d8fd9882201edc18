"""Geostrophic currents of heights in a periodic box."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from leads.environments.equivalent_barotropic_qg import GRAVITY, rotation
from leads.errors import DataError, SettingsError
from leads.numerics import SpectralGrid
from leads.ocean.scores.checks import same_shape

#: Latitude in degrees below which geostrophy is not tried.
EQUATOR = 5.0


def periodic_currents(height: Tensor, latitude: Tensor | float, spacing: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """``u = -(g / f) h_y``, ``v = (g / f) h_x`` on an f-plane, by Fourier series; m/s, each of the shape of ``height``.

    On latitudes and longitudes take :func:`leads.ocean.data.geostrophic_velocity`.

    Args:
        height: sea-surface height, m, ``(..., Y, X)``.
        latitude: degrees north, broadcasting against the axes before Y and X.
        spacing: of points along y and x, m.

    Raises:
        SettingsError: within 5 degrees of the equator, where geostrophy fails, or a spacing that is not positive.
        DataError: NaN or infinite heights.
    """
    same_shape(height, height, 2, "height")
    place = torch.as_tensor(latitude, dtype=height.dtype, device=height.device)
    worst = float(place.abs().min())
    if not worst >= EQUATOR:
        raise SettingsError(
            f"Geostrophy fails near the equator: latitudes must be at least {EQUATOR:g} degrees away from it, got {worst:g}."
        )
    if not all(0 < s < math.inf for s in spacing):
        raise SettingsError(f"Spacings must be positive and finite, got {spacing}.")
    if not bool(torch.isfinite(height).all()):
        raise DataError("Currents of a periodic box need a height at every point; some are missing.")
    ny, nx = height.shape[-2:]
    g = SpectralGrid((ny, nx), (ny * spacing[0], nx * spacing[1])).to(height)
    ratio = (GRAVITY / rotation(place, torch.ones_like(place)).f)[..., None, None]
    modes = g.forward(height)
    return -ratio * g.inverse(g.derivative(0) * modes), ratio * g.inverse(g.derivative(1) * modes)

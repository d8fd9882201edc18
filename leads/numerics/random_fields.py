"""Random periodic fields with a given spectrum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.errors import SettingsError, UnknownNameError
from leads.numerics.spectral import SpectralGrid
from leads.registry import nearest

AMPLITUDES = ("gaussian", "fixed")
#: Measure of the sphere |k| = 1 in one, two and three dimensions.
SPHERE = {1: 2.0, 2: 2 * math.pi, 3: 4 * math.pi}


def random_field(
    grid: SpectralGrid,
    spectrum: Callable[[Tensor], Tensor],
    n: int,
    generator: np.random.RandomState,
    *,
    amplitudes: Literal["gaussian", "fixed"] = "gaussian",
) -> Tensor:
    """Homogeneous, isotropic fields of zero mean whose variance is spread over wavenumbers as ``spectrum`` says.

    ``spectrum(|k|)`` is a density E(k) with variance = integral of E dk. A mode of the box carries the variance
    ``E(|k|) prod(2 pi / L_i) / (S_d |k|^(d-1))``, S_d = 2, 2 pi, 4 pi in d = 1, 2, 3 dimensions, so the variance of a
    field tends to the integral as the box grows. Draw on a coarse grid and ``resample`` for the same field on a finer
    one.

    Args:
        grid: where; its device and precision do not matter here.
        spectrum: called with ``|k|`` of every mode (float64, never 0), finite and not negative.
        n: number of fields.
        generator: drawn from ``n * prod(shape)`` times, standard normal.
        amplitudes: ``"gaussian"``: a Gaussian random field, each coefficient a complex normal variable; ``"fixed"``:
            random phases, every coefficient of exactly its root mean square modulus, so that each single field has
            exactly the same spectrum.

    Returns:
        Fields ``(n, *shape)``, float64, on the CPU.

    Raises:
        SettingsError: a spectrum that is negative or not finite, or no fields.
        UnknownNameError: unknown amplitudes.
    """
    if n < 1:
        raise SettingsError(f"At least one random field must be drawn, got n = {n}.")
    if amplitudes not in AMPLITUDES:
        raise UnknownNameError(f"No amplitudes are named {amplitudes!r}. {nearest(str(amplitudes), AMPLITUDES)}")
    grid = SpectralGrid(grid.shape, grid.lengths)
    variance = mode_variance(grid, spectrum)
    points = math.prod(grid.shape)
    # Coefficients of real white noise have the symmetries of a real field, whatever the parity of the sides.
    noise = grid.forward(torch.from_numpy(generator.standard_normal((n, *grid.shape))))
    unit = noise / math.sqrt(points) if amplitudes == "gaussian" else torch.sgn(noise)
    return grid.inverse(unit * (points * variance.sqrt()))


def mode_variance(grid: SpectralGrid, spectrum: Callable[[Tensor], Tensor]) -> Tensor:
    """Variance that :func:`random_field` gives each mode, shape ``spectral_shape``, float64; 0 for the mean."""
    k = grid.k2.to("cpu", torch.float64).sqrt()
    mean = k == 0
    safe = torch.where(mean, torch.ones_like(k), k)
    density = torch.where(mean, torch.zeros_like(k), torch.as_tensor(spectrum(torch.where(mean, k.max(), k))))
    if not bool(torch.isfinite(density).all()) or bool((density < 0).any()):
        bad = float(safe[~(torch.isfinite(density) & (density >= 0))][0])
        raise SettingsError(f"The spectrum must be finite and not negative, which it is not at |k| = {bad:g}.")
    cell = math.prod(2 * math.pi / length for length in grid.lengths)
    return density * cell / (SPHERE[grid.ndim] * safe ** (grid.ndim - 1))

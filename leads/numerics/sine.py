"""Sine series of fields that vanish on the walls of a rectangular basin.

A field holds the ``(n, m)`` inner points of a grid of spacing ``(L_y / (n + 1), L_x / (m + 1))``; the walls lie one
spacing beyond the outermost points. Fields have shape ``(..., Y, X)``, and so have their coefficients.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError

#: Up to this many points a product with the matrix of sines is faster than a Fourier transform (measured on one core:
#: 4 times at 64 and at 128 points).
DENSE = 256


def sine_transform(x: Tensor, axis: int = -1) -> Tensor:
    """Orthonormal discrete sine transform of type I along ``axis``, its own inverse:

        y_k = sqrt(2 / (n + 1)) sum_j x_j sin(pi (j + 1) (k + 1) / (n + 1)),   j, k = 0 ... n - 1

    (SciPy's ``dst(x, type=1, norm="ortho")``). Short axes go by a matrix, long ones by a Fourier transform of the odd
    extension.

    Raises:
        ShapeError: an empty axis.
    """
    n = x.shape[axis]
    if n < 1:
        raise ShapeError(f"A sine transform needs at least one point along the axis, got shape {tuple(x.shape)}.")
    if n <= DENSE:
        s = sines(n, x.device, x.dtype)
        return x @ s if axis in (-1, x.ndim - 1) else (x.movedim(axis, -1) @ s).movedim(-1, axis)
    return sine_transform_fft(x, axis)


def sine_transform_fft(x: Tensor, axis: int = -1) -> Tensor:
    """:func:`sine_transform` by a real Fourier transform of the odd extension, of length ``2 (n + 1)``."""
    wide = x.movedim(axis, -1)
    n = wide.shape[-1]
    zero = torch.zeros_like(wide[..., :1])
    odd = torch.cat([zero, wide, zero, -wide.flip(-1)], -1)
    y = torch.fft.rfft(odd).imag[..., 1 : n + 1] * -((2 * (n + 1)) ** -0.5)
    return y.movedim(-1, axis)


def sine_transform_2d(x: Tensor) -> Tensor:
    """:func:`sine_transform` along the last two axes; orthonormal and its own inverse."""
    n, m = x.shape[-2:]
    if max(n, m) <= DENSE and min(n, m) >= 1:
        return sines(n, x.device, x.dtype) @ x @ sines(m, x.device, x.dtype)
    return sine_transform(sine_transform(x, -1), -2)


def sine_eigenvalues(
    shape: tuple[int, int], lengths: tuple[float, float], *, spectral: bool = False, like: Tensor | None = None
) -> Tensor:
    """Eigenvalues of the Laplacian with zero on the walls, for each pair of sines; negative, shape ``shape``.

    Of the five-point Laplacian, ``-(4 / h^2) sin^2(pi k / (2 (n + 1)))`` an axis, or with ``spectral`` of the exact
    one, ``-(pi k / L)^2``.

    Args:
        shape: inner points along y and x.
        lengths: side lengths from wall to wall.
        like: gives device and dtype; float64 on the CPU by default.

    Raises:
        SettingsError: sides that are empty or not positive.
    """
    if len(shape) != 2 or len(lengths) != 2 or min(shape) < 1 or not all(0 < s < math.inf for s in lengths):
        raise SettingsError(f"A basin has two sides of at least one point and positive length, got {shape}, {lengths}.")
    values = _eigenvalues(tuple(shape), tuple(lengths), spectral)
    return values if like is None else values.to(like)


def solve_helmholtz(
    q: Tensor, lengths: tuple[float, float], screening: Tensor | float = 0.0, *, spectral: bool = False
) -> Tensor:
    """The field that vanishes on the walls and satisfies ``lap psi - screening psi = q``.

    Exact for the five-point Laplacian, or for the trigonometric interpolant with ``spectral``.

    Args:
        q: right-hand side, ``(..., Y, X)``.
        lengths: side lengths from wall to wall, along y and x.
        screening: not negative, a number or a tensor that broadcasts against ``q`` (shape ``(..., 1, 1)``); zero
            gives Poisson's equation.

    Raises:
        SettingsError: sides that are not positive.
    """
    n, m = q.shape[-2:]
    eigenvalues = sine_eigenvalues((n, m), lengths, spectral=spectral, like=q)
    return sine_transform_2d(sine_transform_2d(q) / (eigenvalues - screening))


@lru_cache(maxsize=32)
def sines(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The symmetric orthogonal matrix of :func:`sine_transform`, ``(n, n)``."""
    with torch.inference_mode(False):
        j = torch.arange(1, n + 1, dtype=torch.float64)
        # The whole number is reduced first: the sine of a large angle loses digits.
        turns = torch.outer(j, j) % (2 * (n + 1))
        return ((2 / (n + 1)) ** 0.5 * torch.sin(math.pi / (n + 1) * turns)).to(device, dtype)


@lru_cache(maxsize=32)
def _eigenvalues(shape: tuple[int, int], lengths: tuple[float, float], spectral: bool) -> Tensor:
    with torch.inference_mode(False):
        rows = []
        for n, length in zip(shape, lengths, strict=True):
            k = torch.arange(1, n + 1, dtype=torch.float64)
            exact = math.pi * k / length
            half_angle = math.pi * k / (2 * (n + 1))
            rows.append(exact**2 if spectral else (2 * (n + 1) / length * torch.sin(half_angle)) ** 2)
        return -(rows[0][:, None] + rows[1])

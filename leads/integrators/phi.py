"""The functions of exponential integrators, accurate for every argument."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Radius of the circle around ``z`` and points on it. Where ``|z| < 1`` the circle keeps a distance of 1 from 0, and
#: the trapezoidal rule is off by 2^32 / 35! = 4e-31 at most.
RADIUS, POINTS = 2.0, 32


def phi_sum(z: Tensor, weights: tuple[float, ...]) -> Tensor:
    """``sum_j weights[j] phi_j(z)``, j = 0 to 3 at most, elementwise.

    ``phi_0 = exp``, ``phi_{j+1}(z) = (phi_j(z) - 1/j!) / z``, so ``phi_j(0) = 1/j!``.

    Where ``|z| < 1`` the functions are means over a circle around ``z`` (Kassam and Trefethen, 2005, equation 2.5),
    real arguments using the symmetry of its halves; elsewhere the closed form is used, with the weighted powers of
    ``1/z`` collected first so that what cancels does so exactly. Errors are a few units of rounding relative to the
    largest weighted term. Differentiable, also at 0.

    Args:
        z: float64 or complex128, any shape.
        weights: of ``phi_0, phi_1, ...``.

    Returns:
        Shape and dtype of ``z``.
    """
    if not any(weights[1:]):
        return weights[0] * z.exp()
    near = z.detach().abs() < 1
    # Each branch sees only arguments that suit it: a NaN in the branch not chosen would still poison gradients.
    close = _near_zero(torch.where(near, z, torch.zeros_like(z)), weights)
    return torch.where(near, close, _closed(torch.where(near, torch.ones_like(z), z), weights))


def _closed(z: Tensor, weights: tuple[float, ...]) -> Tensor:
    """``exp(z) sum_j w_j z^-j - sum_m p_m z^-m``, the sums by Horner's rule in ``1/z``."""
    count = len(weights)
    taylor = [0.0, *(sum(weights[j] / math.factorial(j - m) for j in range(m, count)) for m in range(1, count))]
    inverse = z.reciprocal()
    return _horner(inverse, list(weights)) * z.exp() - _horner(inverse, taylor)


def _horner(x: Tensor, coefficients: list[float]) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def _near_zero(z: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Mean of the weighted functions over the circle; ``|z| < 1``."""
    count = POINTS if z.is_complex() else POINTS // 2
    complex_type = z.dtype.to_complex()
    exponential = z.exp()
    total = torch.zeros_like(z)
    for i in range(count):
        angle = 2 * math.pi * (i + 0.5) / POINTS
        point = complex(RADIUS * math.cos(angle), RADIUS * math.sin(angle))
        inverse = (z.to(complex_type) + point).reciprocal()
        value = exponential * _exp(point)
        mean = weights[0] * value
        for j, w in enumerate(weights[1:]):
            value = (value - 1 / math.factorial(j)) * inverse
            if w:
                mean = mean + w * value
        total = total + (mean if z.is_complex() else mean.real)
    return total / count


def _exp(point: complex) -> complex:
    size = math.exp(point.real)
    return complex(size * math.cos(point.imag), size * math.sin(point.imag))

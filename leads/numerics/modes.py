"""Modes of a finite-difference Laplacian: the basis in which a linear field is a set of independent oscillators."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from leads.numerics.stencils import Boundary, second_derivative


class Modes:
    """Eigenvectors of the Laplacian on a uniform grid, a product of those along each axis.

    The stencil must be symmetric, as centred ones are with each of the boundaries.

    Args:
        shape: cells along each axis, one or two.
        spacing: distance of cells along each axis.
        order: order of accuracy of the stencil, 2, 4 or 6.
        boundary: see :func:`leads.numerics.stencils.shift`.
    """

    def __init__(self, shape: tuple[int, ...], spacing: tuple[float, ...], order: int, boundary: Boundary) -> None:
        pairs = [_along(n, h, order, boundary) for n, h in zip(shape, spacing, strict=True)]
        self.vectors = tuple(vectors for _, vectors in pairs)
        values = [values for values, _ in pairs]
        #: Eigenvalues, shape ``shape``, float64; none is positive.
        self.values = values[0] if len(shape) == 1 else values[0][:, None] + values[1]

    def forward(self, x: Tensor) -> Tensor:
        """Fields ``(..., *X)`` to the amplitudes of their modes, same shape."""
        *rows, last = (v.to(x) for v in self.vectors)
        y = x @ last
        return rows[0].mT @ y if rows else y

    def inverse(self, modes: Tensor) -> Tensor:
        """Amplitudes ``(..., *X)`` to fields."""
        *rows, last = (v.to(modes) for v in self.vectors)
        y = modes @ last.mT
        return rows[0] @ y if rows else y


@lru_cache(maxsize=32)
def _along(n: int, spacing: float, order: int, boundary: Boundary) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(n,)`` and eigenvectors ``(n, n)`` (columns) of the second derivative along one axis."""
    with torch.inference_mode(False), torch.no_grad():
        matrix = second_derivative(torch.eye(n, dtype=torch.float64), spacing, 0, order, boundary)
        values, vectors = torch.linalg.eigh(matrix)
        # Rounding makes the constant mode of a closed box grow otherwise.
        return values.clamp(max=0.0), vectors


def damped_oscillator(stiffness: Tensor, damping: Tensor, dt: float) -> Tensor:
    """The exact step of ``a'' = -stiffness a - damping a'`` over ``dt``: matrices ``(..., 2, 2)`` acting on (a, a').

    Args:
        stiffness, damping: not negative, of shapes that broadcast to ``(...)``.
        dt: length of the step.
    """
    half = 0.5 * damping
    d = half * half - stiffness
    y = d * dt**2
    small = y.abs() < 1e-4
    root = torch.where(small, torch.ones_like(d), d.abs()).sqrt()
    decay = torch.exp(-half * dt)
    # Overdamped: root <= half, and what is clamped belongs to oscillations.
    slow, fast = torch.exp((root - half).clamp(max=0.0) * dt), torch.exp(-(root + half) * dt)
    even = torch.where(d < 0, decay * torch.cos(root * dt), 0.5 * (slow + fast))
    odd = torch.where(d < 0, decay * torch.sin(root * dt), 0.5 * (slow - fast)) / root
    even = torch.where(small, decay * (1 + y / 2 * (1 + y / 12 * (1 + y / 30))), even)
    odd = torch.where(small, decay * dt * (1 + y / 6 * (1 + y / 20 * (1 + y / 42))), odd)
    rows = [[even + half * odd, odd], [-stiffness * odd, even - half * odd]]
    return torch.stack([torch.stack(torch.broadcast_tensors(*row), -1) for row in rows], -2)


def runge_kutta_four(stiffness: Tensor, damping: Tensor, dt: float) -> Tensor:
    """The step that the classical Runge-Kutta method takes in place of :func:`damped_oscillator`."""
    stiffness, damping = torch.broadcast_tensors(stiffness, damping)
    zero, one = torch.zeros_like(stiffness), torch.ones_like(stiffness)
    a = torch.stack([torch.stack([zero, one], -1), torch.stack([-stiffness, -damping], -1)], -2) * dt
    unit = torch.eye(2, dtype=a.dtype, device=a.device)
    return unit + a @ (unit + a / 2 @ (unit + a / 3 @ (unit + a / 4)))

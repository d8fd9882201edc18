"""Convolution by multiplying the lowest Fourier modes; written for one and for many environments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SpectralConv(nn.Module):
    """Channels are mixed by a complex matrix of its own in every kept Fourier mode; the other modes are dropped.

    ``weight`` has shape ``(out, in, *kept, 2)`` with kept = (modes,) on a line and (2 modes_y, modes_x) on a plane,
    rows being the wavenumbers 0 .. modes_y - 1, -modes_y .. -1; its last axis holds real and imaginary parts, because
    a view of them as complex numbers does not exist under ``vmap``. As neither the transform's scale nor the kept
    modes depend on the grid, the same weights serve any grid that has these modes.

    Source: Li et al. (2021), Fourier neural operator for parametric partial differential equations, eq. 4.
    """

    def __init__(self, inputs: int, outputs: int, modes: tuple[int, ...], spread: float) -> None:
        super().__init__()
        self.modes = modes
        kept = modes if len(modes) == 1 else (2 * modes[0], modes[1])
        self.weight = nn.Parameter(spread * torch.rand(outputs, inputs, *kept, 2))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.complex(self.weight[..., 0], self.weight[..., 1])
        product = torch.einsum("ni...,oi...->no...", kept_modes(x, self.modes), weight)
        return from_modes(product, self.modes, x.shape[2:])


def kept_modes(x: Tensor, modes: tuple[int, ...]) -> Tensor:
    """The lowest Fourier modes of real fields: complex, shape ``(..., modes)`` or ``(..., 2 modes_y, modes_x)``."""
    z = torch.fft.rfft(x)[..., : modes[-1]]
    if len(modes) == 1:
        return z
    z = torch.fft.fft(z, dim=-2)
    return torch.cat([z[..., : modes[0], :], z[..., -modes[0] :, :]], -2)


def from_modes(z: Tensor, modes: tuple[int, ...], grid: Sequence[int]) -> Tensor:
    """Real fields on ``grid`` whose lowest modes are ``z`` and whose others are zero."""
    if len(modes) == 2:
        m = modes[0]
        between = z.new_zeros(*z.shape[:-2], grid[0] - 2 * m, z.shape[-1])
        z = torch.fft.ifft(torch.cat([z[..., :m, :], between, z[..., m:, :]], -2), dim=-2)
    return torch.fft.irfft(z, n=grid[-1])


def mode_matrices(weight: Tensor) -> Tensor:
    """Weights ``(E, out, in, *kept, 2)`` as complex matrices ``(E, M, in, out)`` of the M kept modes."""
    a, b = weight.flatten(3, -2).permute(4, 0, 3, 2, 1)
    return torch.complex(a.contiguous(), b.contiguous())


def multiply_modes(z: Tensor, matrices: Tensor) -> Tensor:
    """Modes ``(E, N, in, *kept)`` times :func:`mode_matrices`: ``(E, N, out, *kept)``."""
    rows = z.flatten(3).permute(0, 3, 1, 2)
    product = torch.bmm(rows.flatten(0, 1), matrices.flatten(0, 1)).unflatten(0, rows.shape[:2])
    return product.permute(0, 2, 3, 1).unflatten(-1, z.shape[3:])

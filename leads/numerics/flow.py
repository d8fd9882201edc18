"""Incompressible flow in two dimensions, by Fourier coefficients.

Fields have shape ``(..., Y, X)``: the grid's first axis is y, its last is x. With streamfunction psi the velocity is
``u = -psi_y``, ``v = psi_x`` and the vorticity ``v_x - u_y = lap psi``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from leads.errors import SettingsError, UnknownNameError
from leads.numerics.spectral import SpectralGrid
from leads.registry import nearest

FORMS = ("flux", "advective")


def velocity_from_streamfunction(grid: SpectralGrid, psih: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients of ``u = -psi_y`` and ``v = psi_x``, each of the shape of ``psih``."""
    g = _flat(grid).to(psih)
    return -g.derivative(0) * psih, g.derivative(1) * psih


def streamfunction_from_vorticity(grid: SpectralGrid, zetah: Tensor) -> Tensor:
    """Coefficients of the solution of ``lap psi = zeta`` with zero mean; the mean of ``zeta`` is ignored."""
    return _flat(grid).to(zetah).inverse_laplacian * zetah


def velocity_from_vorticity(grid: SpectralGrid, zetah: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients of the velocity (u, v) of zero mean with vorticity ``zeta``."""
    return velocity_from_streamfunction(grid, streamfunction_from_vorticity(grid, zetah))


def vorticity_from_velocity(grid: SpectralGrid, uh: Tensor, vh: Tensor) -> Tensor:
    """Coefficients of ``v_x - u_y``."""
    g = _flat(grid).to(uh)
    return g.derivative(1) * vh - g.derivative(0) * uh


def advection(
    grid: SpectralGrid,
    psih: Tensor,
    qh: Tensor,
    *,
    form: Literal["flux", "advective"] = "flux",
    dealias: bool = True,
) -> Tensor:
    """Coefficients of the Jacobian ``J(psi, q) = psi_x q_y - psi_y q_x = u q_x + v q_y``.

    Args:
        grid: two axes, y and x.
        psih, qh: coefficients ``(..., Y, X // 2 + 1)`` of the same shape.
        form: ``"flux"``: ``(u q)_x + (v q)_y``, whose mean vanishes to the last bit; ``"advective"``: ``u q_x + v q_y``.
            Five transforms either way. With dealiasing and without Nyquist modes the two are equal to rounding.
        dealias: apply the 2/3 rule to both factors and to the result. ``J`` then conserves the mean of ``q``, of
            ``q^2`` and of ``q psi`` to rounding.

    Returns:
        Shape of ``qh``.

    Raises:
        SettingsError: a grid without exactly two axes.
        UnknownNameError: unknown form.
    """
    if form not in FORMS:
        raise UnknownNameError(f"No form of advection is named {form!r}. {nearest(form, FORMS)}")
    g = _flat(grid).to(qh)
    flow, gradient, mask = _symbols(g, dealias)
    velocity = g.inverse(flow * psih[..., None, :, :])
    if form == "flux":
        q = g.inverse(qh if mask is None else mask * qh)
        fluxes = g.forward(velocity * q[..., None, :, :])
        along_x, along_y = gradient.unbind(0)
        return torch.addcmul(along_x * fluxes[..., 0, :, :], along_y, fluxes[..., 1, :, :])
    slopes = g.inverse(gradient * qh[..., None, :, :])
    product = g.forward((velocity * slopes).sum(-3))
    return product if mask is None else mask * product


@lru_cache(maxsize=64)
def _symbols(grid: SpectralGrid, dealias: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """From psi to (u, v), from a field to (d/dx, d/dy), and the mask; the mask is folded into the first two."""
    with torch.inference_mode(False):
        along_y, along_x = torch.broadcast_tensors(grid.derivative(0), grid.derivative(1))
        mask = grid.dealias.to(along_x.dtype) if dealias else None
        flow, gradient = torch.stack([-along_y, along_x]), torch.stack([along_x, along_y])
        return (flow, gradient, None) if mask is None else (flow * mask, gradient * mask, mask)


def _flat(grid: SpectralGrid) -> SpectralGrid:
    if grid.ndim != 2:
        raise SettingsError(f"Two-dimensional flow needs a grid with axes (y, x), got one of shape {grid.shape}.")
    return grid

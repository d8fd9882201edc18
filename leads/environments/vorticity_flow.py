"""Incompressible two-dimensional flows that are solved by Fourier series of their vorticity."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import lru_cache

import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.system import Channel, Grid, System
from leads.errors import DivergenceError, SettingsError
from leads.integrators.each import integrate_each
from leads.numerics.spectral import SpectralGrid

#: Bytes of a field's coefficients advanced together on a processor: with the stages of a step they stay in its cache.
CACHED_BYTES = 2**17


class VorticityFlow(System):
    """A flow on a doubly periodic square whose state is its vorticity; subclasses solve it."""

    channels = (Channel("vorticity", "1/time", "vorticity"),)

    def __init__(self, size: int, length: float, axes: tuple[str, str]) -> None:
        size = whole("size", size, 8)
        self.grid = Grid((size, size), (length / size, length / size), axes)
        self.fourier = SpectralGrid((size, size), (length, length))

    def scale(self, p: Tensor) -> Tensor:
        """Side of an environment's box over that of :attr:`grid`, shape ``(...)``; 1 where no parameter changes it."""
        return torch.ones_like(p[..., 0])

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Per unit mass: ``energy`` = mean of ``|velocity|^2 / 2``, ``enstrophy`` = mean of ``vorticity^2 / 2`` and
        ``palinstrophy`` = mean of ``|grad vorticity|^2 / 2``."""
        g = self.fourier.to(x)
        zetah = g.forward(x[..., 0, :, :])
        s2 = self.scale(p) ** 2
        return {
            "energy": -0.5 * s2 * g.inner(zetah, g.inverse_laplacian * zetah),
            "enstrophy": 0.5 * g.inner(zetah, zetah),
            "palinstrophy": -0.5 / s2 * g.inner(zetah, g.laplacian * zetah),
        }

    def spectrum(self, x: Tensor, p: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Wavenumbers and isotropic energy spectrum.

        Args:
            x: states, shape ``(..., 1, *X)``.
            p: parameters, shape ``(..., P)``, where they change the side of the box; without them it is that of ``grid``.

        Returns:
            Wavenumbers ``(bins,)`` (with ``p`` ``(..., bins)``), and the energy in each ring around them, over its width:
            ``(..., bins)``, whose sum times that width is the ``energy`` of :meth:`diagnostics`.
        """
        g = self.fourier.to(x)
        k = g.bins
        energy = g.isotropic_spectrum((-g.inverse_laplacian).sqrt() * g.forward(x[..., 0, :, :])) / (2 * k[0])
        if p is None:
            return k, energy
        scale = self.scale(p)[..., None]
        return k / scale, energy * scale**3


def padded_inverse(modes: Tensor, n: int) -> Tensor:
    """Real fields on ``n`` points a side, ``(..., n, n)``, of modes ``(..., 2 m - 1, m)`` normalised by the mean."""
    half = modes.shape[-1]
    middle = modes.new_zeros(*modes.shape[:-2], n - modes.shape[-2], half)
    rows = torch.cat([modes[..., :half, :], middle, modes[..., half:, :]], -2)
    return torch.fft.irfft(torch.fft.ifft(rows, dim=-2, norm="forward"), n=n, dim=-1, norm="forward")


def padded_forward(fields: Tensor, half: int) -> Tensor:
    """The modes ``(..., 2 half - 1, half)`` of real fields ``(..., n, n)``; the others are dropped."""
    columns = torch.fft.rfft(fields, dim=-1, norm="forward")[..., :half]
    modes = torch.fft.fft(columns, dim=-2, norm="forward")
    return torch.cat([modes[..., :half, :], modes[..., modes.shape[-2] - half + 1 :, :]], -2)


class DealiasedFlow(VorticityFlow):
    """``zeta_t = L zeta - u zeta_x - v zeta_y + forcing``, L diagonal in Fourier space (viscosity, drag); axes (y, x).

    The state in a solution is the set of modes below ``fine / 3`` (*kept*, normalised so that the mean is the mode 0);
    products are taken on ``fine`` points a side, so they have no aliasing errors (2/3 rule), and frames hold the modes
    that ``size`` points can. With ``fine >= 1.5 size`` no mode of an initial state is lost but its Nyquist modes. Steps
    are adaptive, of order 8, for these flows are hardly stiff at the viscosities that ``fine`` points resolve: for the
    time that ETDRK4 takes to an error of 3e-4 they reach 1e-7. Very viscous flows take many steps.

    A subclass gives :meth:`linear` and, where there is one, :meth:`forcing`, as coefficients on the grid of kept modes.
    """

    rtol, atol = 1e-8, 1e-10

    def __init__(self, size: int, length: float, fine: int) -> None:
        super().__init__(size, length, ("y", "x"))
        if whole("fine", fine, 1) < self.fourier.shape[0]:
            raise SettingsError(f"{type(self).__name__} needs fine >= size, got size {size} and fine {fine}.")
        self.fine = fine
        side = 2 * ((fine - 1) // 3) + 1
        # An odd number of points has exactly the modes |n| <= (side - 1) / 2, and no Nyquist mode.
        self.kept = SpectralGrid((side, side), (length, length))

    @abstractmethod
    def linear(self, g: SpectralGrid, p: Tensor) -> Tensor:
        """Symbol of L, real, shape ``(..., *g.spectral_shape)`` for parameters ``(..., P)``."""

    def forcing(self, g: SpectralGrid, p: Tensor) -> Tensor | None:
        """Coefficients of the forcing, complex, ``(..., *g.spectral_shape)``, mean normalised; none by default."""
        del g, p
        return None

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        g = self.kept.to(x)
        zetah = self.to_modes(x)
        rates = self.linear(g, p) * zetah - self.advection(zetah)
        force = self.forcing(g, p)
        return self.to_field(rates if force is None else rates + force)

    def to_modes(self, x: Tensor) -> Tensor:
        """Kept modes of states ``(..., 1, Y, X)``."""
        g = self.fourier
        return g.resample(g.forward(x[..., 0, :, :]), self.kept.shape) / math.prod(self.kept.shape)

    def to_field(self, zetah: Tensor) -> Tensor:
        """States ``(..., 1, Y, X)`` of kept modes."""
        g = self.kept
        return self.fourier.inverse(g.resample(zetah, self.fourier.shape) * math.prod(g.shape)).unsqueeze(-3)

    def advection(self, zetah: Tensor) -> Tensor:
        """Kept modes of ``u zeta_x + v zeta_y = (uv)_xx - (uv)_yy + (v^2 - u^2)_xy`` (Basdevant, 1983).

        Side lengths cancel, so it may be taken on the box of ``grid`` whatever an environment's own box is.
        """
        flow, second = _symbols(self.kept.to(zetah))
        u, v = padded_inverse(flow * zetah[..., None, :, :], self.fine).unbind(-3)
        products = torch.stack([u * v, (v - u) * (v + u)], -3)
        modes = second * padded_forward(products, zetah.shape[-1])
        return modes[..., 0, :, :] + modes[..., 1, :, :]

    def _solve(self, x0: Tensor, p: Tensor, t: Tensor, rtol: float, atol: float) -> Tensor:
        g = self.kept.to(x0)
        size = 2 * math.prod(g.spectral_shape) * x0.element_size()
        chunk = max(1, len(x0) if x0.is_cuda else CACHED_BYTES // size)
        parts = []
        for start, (x, q) in enumerate(zip(x0.split(chunk), p.split(chunk), strict=True)):
            force = self.forcing(g, q)

            def rates(_: Tensor, y: Tensor, linear: Tensor, force: Tensor | None = force) -> Tensor:
                change = -torch.view_as_real(self.advection(torch.view_as_complex(y)))
                change = torch.addcmul(change, linear, y)
                return change if force is None else change + torch.view_as_real(force)

            y0 = torch.view_as_real(self.to_modes(x))
            try:
                modes = integrate_each(
                    rates, y0, t, self.linear(g, q).unsqueeze(-1), method=self.method, rtol=rtol, atol=atol
                )
            except DivergenceError as error:
                if error.trajectory is not None:
                    error.trajectory += start * chunk
                raise
            frames = self.to_field(torch.view_as_complex(modes))
            parts.append(torch.cat([x[None], frames[1:]]))
        return torch.cat(parts, 1)


@lru_cache(maxsize=32)
def _symbols(g: SpectralGrid) -> tuple[Tensor, Tensor]:
    """From zeta to (u, v), and from (uv, v^2 - u^2) to zeta's advection; each ``(2, *g.spectral_shape)``, complex."""
    with torch.inference_mode(False):
        along_y, along_x = torch.broadcast_tensors(g.derivative(0), g.derivative(1))
        flow = torch.stack([-along_y, along_x]) * g.inverse_laplacian
        return flow, torch.stack([along_x**2 - along_y**2, along_x * along_y])

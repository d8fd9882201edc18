"""Linear systems on a periodic box, solved exactly by Fourier series."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from leads.environments.system import System
from leads.integrators import check_finite
from leads.numerics.random_fields import mode_variance, random_field
from leads.numerics.spectral import SpectralGrid


class LinearFourierSystem(System):
    """``dx/dt = L(p) x`` with ``L`` diagonal in Fourier space: a subclass gives its :meth:`symbol` and ``spectral``.

    ``rhs`` and the solution ``exp(L t) x0`` are exact for trigonometric series that the grid carries, at any time step.
    """

    spectral: SpectralGrid

    @abstractmethod
    def symbol(self, grid: SpectralGrid, p: Tensor) -> Tensor:
        """Diagonal of ``L``.

        Args:
            grid: ``self.spectral`` on the device and in the precision of the state.
            p: parameters, shape ``(..., P)``.

        Returns:
            Shape ``(..., *grid.spectral_shape)``, real or complex, in 1/time.
        """

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        g = self.spectral.to(x)
        return g.inverse(self._wide(g, p) * g.forward(x))

    def _wide(self, g: SpectralGrid, p: Tensor) -> Tensor:
        """The symbol with an axis for the channels."""
        return self.symbol(g, p).unsqueeze(-1 - g.ndim)

    def _solve(self, x0: Tensor, p: Tensor, t: Tensor, rtol: float, atol: float) -> Tensor:
        g = self.spectral.to(x0)
        symbol, xh = self._wide(g, p), g.forward(x0)
        later = [g.inverse(torch.exp(symbol * s) * xh) for s in (t[1:] - t[0]).tolist()]
        return check_finite(torch.stack([x0, *later]), t)


def smooth_fields(grid: SpectralGrid, width: float, n: int, generator: np.random.RandomState) -> Tensor:
    """``n`` Gaussian random fields ``(n, *shape)`` of zero mean and unit expected variance, float64.

    Their spectrum is ``E(k) ~ exp(-k^2 / (2 width^2))``, cut where a side's Nyquist wavenumber begins.
    """
    nyquist = min(math.pi / h for h in grid.spacing)

    def spectrum(k: Tensor) -> Tensor:
        return torch.where(k < 0.999 * nyquist, torch.exp(-0.5 * (k / width) ** 2), torch.zeros_like(k))

    total = (grid.mode_weights * mode_variance(grid, spectrum)).sum()
    return random_field(grid, spectrum, n, generator) / total.sqrt()

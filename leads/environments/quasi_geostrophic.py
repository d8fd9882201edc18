"""What quasi-geostrophic systems in a doubly periodic box share: Fourier series, dissipation, exponential steps."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.system import Grid, System
from leads.errors import SettingsError, UnknownNameError
from leads.integrators import check_finite, integrate_exponential
from leads.numerics import SpectralGrid
from leads.registry import nearest

Dissipation = Literal["filter", "hyperviscosity", "none"]
DISSIPATIONS = ("filter", "hyperviscosity", "none")
#: Values advanced together: a chunk and its slopes stay in a core's cache.
CHUNK = 2**15


class PeriodicQG(System):
    """Layers of potential vorticity q advected by their streamfunction psi, ``u = -psi_y``, ``v = psi_x``:

        dq/dt = linear q - J(psi, q) + other terms

    by Fourier series on ``size`` points a side, with the diagonal ``linear`` part solved exactly and the rest by
    Krogstad's exponential Runge-Kutta method of order 4 (of those at hand the most accurate by far where the filter
    below is stiff). A subclass gives :meth:`linear`, :meth:`tendency` and, where the state is not q,
    :meth:`to_pv` and :meth:`from_pv`.

    Small scales are removed at a rate that is a property of the equation, not of the step:

    - ``"filter"``: ``strength (k* - cutoff)^4 / filter_step`` where ``k* > cutoff``, ``k*^2 = (k dx)^2 + (l dy)^2``: what
      the published codes' exponential filter, applied once a step of length ``filter_step``, amounts to in continuous
      time. It stands in for dealiasing, as there: products are not truncated, energy is conserved by advection all the
      same.
    - ``"hyperviscosity"``: ``(k* / pi)^8 / (1.5 filter_step)``, products truncated by the 2/3 rule.
    - ``"none"``: none, products truncated; advection conserves energy and enstrophy to rounding.

    ``rhs`` holds the dissipation too and is stiff with it: an explicit integrator (a hybrid model's) needs steps shorter
    than ``2.8 / max(-damping)``, or a system with dissipation ``"none"``.

    Args:
        size: points a side, even, at least 16.
        length: side of the box.
        unit: of ``length``.
        dissipation: see above.

    Raises:
        SettingsError: a grid that is too coarse or odd.
        UnknownNameError: unknown dissipation.
    """

    #: Longest step of a reference solution.
    step: float
    #: The published filter (defaults: pyqg's) and the step at which it is applied.
    strength, cutoff, filter_step = 23.6, 0.65 * math.pi, 1.0

    def __init__(self, size: int, length: float, unit: str, dissipation: Dissipation) -> None:
        size = whole("size", size, 1)
        if size < 16 or size % 2:
            raise SettingsError(f"{type(self).__name__} needs an even grid of at least 16 points a side, got {size}.")
        if dissipation not in DISSIPATIONS:
            raise UnknownNameError(
                f"No dissipation is named {dissipation!r}. {nearest(str(dissipation), DISSIPATIONS)}"
            )
        self.grid: Grid = Grid((size, size), (length / size, length / size), ("y", "x"), unit)
        self.modes = SpectralGrid((size, size), (length, length))
        self.dissipation = dissipation

    # What a subclass gives.

    @abstractmethod
    def linear(self, p: Tensor) -> Tensor:
        """Diagonal of the linear part, real or complex, broadcasting against coefficients ``(..., C, Y, X // 2 + 1)``."""

    @abstractmethod
    def tendency(self, p: Tensor) -> Callable[[Tensor], Tensor]:
        """All other terms, as a function of the coefficients of q; what depends on ``p`` alone is computed once."""

    def to_pv(self, xh: Tensor, p: Tensor) -> Tensor:
        """From coefficients of the state to those of q: the same by default."""
        del p
        return xh

    def from_pv(self, qh: Tensor, p: Tensor) -> Tensor:
        """Inverse of :meth:`to_pv`."""
        del p
        return qh

    # What it gets for it.

    @property
    def dealias(self) -> bool:
        """Whether products are truncated by the 2/3 rule."""
        return self.dissipation != "filter"

    def damping(self, like: Tensor) -> Tensor:
        """Rate of the small scales' dissipation, not positive, shape ``spectral_shape``, placed as ``like``."""
        g = self.modes.to(like)
        star = g.k2.sqrt() * self.grid.spacing[0]
        if self.dissipation == "filter":
            return -self.strength * (star - self.cutoff).clamp_min(0) ** 4 / self.filter_step
        if self.dissipation == "hyperviscosity":
            return -((star / math.pi) ** 8) / (1.5 * self.filter_step)
        return torch.zeros_like(star)

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        g = self.modes.to(x)
        qh = self.to_pv(g.forward(x), p)
        return g.inverse(self.from_pv(self.linear(p) * qh + self.tendency(p)(qh), p))

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        return self._flat(x0, p, lambda x, q: self._advance(x, q, t, self.step / refine))

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of these data is published, and RK45 would need endless steps under the filter."""
        return self.simulate(x0, p, t)

    def _advance(self, x0: Tensor, p: Tensor, t: Tensor, step: float) -> Tensor:
        """``(B, C, *X)``, ``(B, P)`` to ``(T, B, C, *X)`` by steps of at most ``step``."""
        chunk = max(1, CHUNK // x0[:1].numel())
        parts = []
        for x, q in zip(x0.split(chunk), p.split(chunk), strict=True):
            # The transform of one field alone takes another path than that of several, and ends in other last bits.
            if x.shape[:2] == (1, 1):
                x, q = x.expand(2, *x.shape[1:]), q.expand(2, -1)
                parts.append(self._solve_chunk(x, q, t, step)[:, :1])
            else:
                parts.append(self._solve_chunk(x, q, t, step))
        states = torch.cat(parts, 1) if parts else x0.expand(len(t), *x0.shape)
        check_finite(states, t)
        return states

    def _solve_chunk(self, x: Tensor, p: Tensor, t: Tensor, step: float) -> Tensor:
        g = self.modes.to(x)
        tendency = self.tendency(p)
        qh = integrate_exponential(
            lambda _, qh: tendency(qh),
            self.linear(p),
            self.to_pv(g.forward(x), p),
            t,
            method="krogstad4",
            max_step=step,
        )
        states = g.inverse(self.from_pv(qh, p))
        return torch.cat([x[None], states[1:]])

    def settle(self, x: Tensor, reference: tuple[float, ...], time: float, step: float) -> Tensor:
        """States ``(n, C, *X)`` after ``time`` at the parameters ``reference``, in single precision (for spin-ups)."""
        p = torch.tensor([reference], dtype=torch.float32)
        t = torch.tensor([0.0, time], dtype=torch.float64)
        settled = self._flat(x[None].float(), p, lambda y, q: self._advance(y, q, t, step))
        return settled[0, :, -1].to(x.dtype)

    def spectrum(self, psih: Tensor) -> Tensor:
        """Isotropic kinetic-energy spectrum of a streamfunction's coefficients, per wavenumber ``modes.bins``.

        Shape ``(..., len(bins))``; its sum times ``2 pi / L`` is ``mean(u^2 + v^2) / 2``.
        """
        g = self.modes.to(psih)
        return g.isotropic_spectrum(psih * g.k2.sqrt()) / (2 * g.bins[0])

"""Waves on a line: one periodic field with quadratic advection and a diagonal linear part, solved by Fourier series."""

from __future__ import annotations

import math
from abc import abstractmethod
from itertools import groupby

import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.system import Channel, Grid, System
from leads.errors import SettingsError
from leads.integrators import check_finite, integrate_exponential
from leads.numerics.spectral import SpectralGrid

#: Bytes of a field advanced together on a processor: with the stages of a step they stay in its cache.
CACHED_BYTES = 2**17


class SpectralScalar(System):
    """A field u on a periodic line of a given length:

        u_t + a (u^2 / 2)_x = L u

    with a number a for each environment and a linear L with constant coefficients, hence diagonal in Fourier space. A
    subclass gives :meth:`advection` and :meth:`symbol`.

    Discretisation: Fourier series; the square is taken of the modes below ``size / 3`` and kept on them (2/3 rule), so it
    is free of aliasing errors and the mean of u and, by the advection, of u^2 is kept exactly. ``rhs`` is this on
    ``size`` points. ``simulate`` uses Krogstad's exponential Runge-Kutta method of order 4, L exact, in equal steps no
    longer than ``max_step``, on ``fine`` points, to which initial states are interpolated and from which frames are
    truncated. Steps are fixed: much faster waves than those of the system's own initial states need a smaller
    ``max_step``.

    Args:
        size: points of the state.
        length: of the line.
        max_step: longest step of ``simulate``.
        fine: points to solve on; ``size`` by default.

    Raises:
        SettingsError: fewer than 8 points, ``fine`` below ``size``, a length or a step that is not positive.
    """

    channels = (Channel("u", "1", "velocity"),)
    method = "krogstad4"

    def __init__(self, size: int, length: float, max_step: float, fine: int | None = None) -> None:
        size = whole("size", size, 8)
        fine = size if fine is None else whole("fine", fine, 8)
        if fine < size:
            raise SettingsError(f"{type(self).__name__} needs fine >= size, got size={size} and fine={fine}.")
        if not (0 < length < math.inf and 0 < max_step < math.inf):
            raise SettingsError(
                f"{type(self).__name__} needs a positive length and max_step, got length={length} and "
                f"max_step={max_step}."
            )
        self.grid = Grid((size,), (length / size,), ("x",))
        self.fourier = SpectralGrid((size,), (length,))
        self.fine = SpectralGrid((fine,), (length,))
        self.max_step = max_step

    @abstractmethod
    def advection(self, p: Tensor) -> Tensor:
        """The factor a, shape ``(...)`` for parameters ``(..., P)``."""

    @abstractmethod
    def symbol(self, g: SpectralGrid, p: Tensor) -> Tensor:
        """Symbol of L on grid ``g``, real or complex, in 1/time, shape ``(..., *g.spectral_shape)``."""

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        g = self.fourier.to(x)
        xh = g.forward(x[..., 0, :])
        return g.inverse(self.symbol(g, p) * xh + _square(g, xh, self._flux(g, p))).unsqueeze(-2)

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        return self._flat(x0, p, lambda x, q: self._solve_fourier(x, q, t, refine))

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: SciPy's RK45 at its defaults, which other systems fall back on, is no match for the stiff
        linear part."""
        return self.simulate(x0, p, t)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``mass``, the mean of u, and ``momentum``, the mean of u^2 / 2."""
        del p
        return {"mass": x[..., 0, :].mean(-1), "momentum": 0.5 * x[..., 0, :].square().mean(-1)}

    def spectrum(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Wavenumbers ``(bins,)`` and spectrum ``(..., bins)`` of states ``(..., 1, X)``, per wavenumber: its sum times the
        distance of wavenumbers is half the variance of u."""
        g = self.fourier.to(x)
        return g.bins, g.isotropic_spectrum(g.forward(x[..., 0, :])) / (2 * g.bins[0])

    def _flux(self, g: SpectralGrid, p: Tensor) -> Tensor:
        """What the coefficients of u^2 are multiplied by, ``(..., *g.spectral_shape)``."""
        return (-0.5 * self.advection(p))[..., None] * (g.derivative(-1) * g.dealias)

    def _solve_fourier(self, x0: Tensor, p: Tensor, t: Tensor, refine: int) -> Tensor:
        """``(B, 1, X)``, ``(B, P)`` to ``(T, B, 1, X)``."""
        chunk = len(x0) if x0.is_cuda else CACHED_BYTES // (self.fine.shape[0] * x0.element_size())
        chunk = max(1, chunk)
        parts = [self._advance(x, q, t, refine) for x, q in zip(x0.split(chunk), p.split(chunk), strict=True)]
        return check_finite(torch.cat(parts, 1), t).unsqueeze(2)

    def _advance(self, x0: Tensor, p: Tensor, t: Tensor, refine: int) -> Tensor:
        coarse, g = self.fourier.to(x0), self.fine.to(x0)
        # In single precision the phase k^3 t of a dispersive wave would be off by far more than the state's rounding.
        linear = self.symbol(self.fine.to(x0.double()), p.double())
        flux = self._flux(g, p)
        lengths = t.to(torch.float64).diff().tolist()
        steps = [max(1, math.ceil(dt / self.max_step - 1e-9)) for dt in lengths]
        states = [coarse.resample(coarse.forward(x0[:, 0]), g.shape)[None]]

        def nonlinear(_: Tensor, xh: Tensor) -> Tensor:
            return _square(g, xh, flux)

        for n, frames in groupby(range(len(steps)), steps.__getitem__):
            run = list(frames)
            within = t[run[0] : run[-1] + 2]
            states.append(
                integrate_exponential(
                    nonlinear, linear, states[-1][-1], within, method=self.method, substeps=refine * n
                )[1:]
            )
        return coarse.inverse(g.resample(torch.cat(states), coarse.shape))


def _square(g: SpectralGrid, xh: Tensor, flux: Tensor) -> Tensor:
    """``flux`` times the coefficients of u^2, of the modes that the 2/3 rule keeps."""
    return flux * g.forward(g.inverse(xh * g.dealias).square())

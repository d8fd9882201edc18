"""Rotating shallow water: balanced eddies and inertia-gravity waves."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import points
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Grid, Parameter, System
from leads.environments.vorticity_flow import padded_forward, padded_inverse
from leads.errors import DataError, SettingsError
from leads.integrators import check_finite, integrate_exponential
from leads.numerics.random_fields import random_field
from leads.numerics.spectral import SpectralGrid

#: Trajectories advanced together on a processor, so that they stay in its cache.
TOGETHER = 2
#: Wavelength in m of the initial elevation, and the wavenumber, relative to it, beyond which hardly any of it lies
#: (three widths of its spectrum).
EDDY, SHORTEST = 400e3, 1.9


class ShallowWater(System):
    """A layer of water of mean depth H on a rotating plane, in a doubly periodic square of side ``length``:

        u_t - (f + zeta) v = -(g h + (u^2 + v^2) / 2)_x - A4 lap^2(u)
        v_t + (f + zeta) u = -(g h + (u^2 + v^2) / 2)_y - A4 lap^2(v)
        h_t + ((H + h) u)_x + ((H + h) v)_y             = -A4 lap^2(h),      zeta = v_x - u_y

    State ``(3, size, size)``, axes (y, x), SI units: eastward velocity u, northward velocity v and the elevation h of
    the surface over its mean. Parameters: Coriolis parameter f0, mean depth H and hyperviscosity A4; g = 9.81 m/s^2.
    ``f = f0 + beta L / (2 pi) sin(2 pi (y - L/2) / L)``: an f-plane for ``beta = 0``; else periodic, with the slope
    beta in the middle of the box.

    Conserved: the mass (mean of h), exactly; without hyperviscosity also the energy, the mean of
    ``((H + h)(u^2 + v^2) + g h^2) / 2``, up to what the grid truncates. Small waves of wavenumber k obey
    ``omega^2 = f0^2 + g H k^2``, or stand still in geostrophic balance. Potential vorticity ``(f + zeta) / (H + h)`` is
    carried along.

    Initial states: a Gaussian random elevation of wavelength around 400 km and root mean square 0.3 m, with the
    velocity in geostrophic balance for ``f = 1e-4 / s``; where f0 is another, it adjusts and radiates waves.

    Discretisation: Fourier, products without aliasing errors on 3/2 ``size`` points a side; Nyquist modes are dropped.
    The linear waves, diagonal in the basis of their eigenvectors, are advanced exactly and the rest by ETDRK4 with
    steps of at most ``max_step`` = 600 s; error by step doubling 2e-7 of the largest velocity, 7e-7 m in h, over 38
    hours.
    Source: Vallis (2017), Atmospheric and Oceanic Fluid Dynamics, chapter 3; numbers of the family are ours.
    """

    channels = (
        Channel("u", "m s-1", "eastward velocity"),
        Channel("v", "m s-1", "northward velocity"),
        Channel("h", "m", "elevation of the surface"),
    )
    parameters = (
        Parameter("f0", "s-1", -1.5e-4, 1.5e-4, "Coriolis parameter"),
        Parameter("H", "m", 1.0, 10000.0, "mean depth"),
        Parameter("A4", "m4 s-1", 0.0, 1e13, "hyperviscosity"),
    )
    gravity = 9.81
    balanced_f = 1e-4
    max_step = 600.0

    def __init__(self, size: int = 64, length: float = 1e6, beta: float = 0.0) -> None:
        if not EDDY <= length < math.inf:
            raise SettingsError(f"The box must hold an initial eddy of {EDDY:g} m, got length={length}.")
        reason = f"initial eddies down to {EDDY / SHORTEST:g} m in a box of {length:g} m must be resolved"
        size = points("size", size, SHORTEST * length / EDDY, 2, reason, even=True)
        self.grid = Grid((size, size), (length / size, length / size), ("y", "x"), unit="m")
        self.fourier = SpectralGrid((size, size), (length, length))
        # An odd number of points has exactly the modes below Nyquist.
        self.kept = SpectralGrid((size - 1, size - 1), (length, length))
        self.fine = 3 * size // 2
        self.beta = beta

    def coriolis(self, f0: Tensor, n: int) -> Tensor:
        """f on rows of ``n`` points, shape ``(..., n, 1)``."""
        turn = 2 * math.pi * (torch.arange(n, device=f0.device, dtype=f0.dtype) / n - 0.5)
        return f0[..., None, None] + self.beta * self.fourier.lengths[0] / (2 * math.pi) * turn.sin()[:, None]

    def to_modes(self, x: Tensor) -> Tensor:
        """Modes of fields ``(..., Y, X)``, normalised by the mean."""
        g = self.fourier
        return g.resample(g.forward(x), self.kept.shape) / math.prod(self.kept.shape)

    def to_field(self, modes: Tensor) -> Tensor:
        """Fields ``(..., Y, X)`` of modes."""
        return self.fourier.inverse(self.kept.resample(modes, self.fourier.shape) * math.prod(self.kept.shape))

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        modes = self.to_modes(x)
        matrix = self.waves(p)
        linear = (matrix * modes[..., None, :, :, :]).sum(-3) - self.damping(p) * modes
        return self.to_field(linear + self.products(modes, p))

    def waves(self, p: Tensor) -> Tensor:
        """The linear waves' matrix in (u, v, h) for every mode, shape ``(..., 3, 3, *modes)``, complex."""
        g = self.kept.to(p)
        f0, depth, _ = (q[..., None, None] for q in p.unbind(-1))
        along_y, along_x = torch.broadcast_tensors(g.derivative(0), g.derivative(1))
        zero = torch.zeros_like(along_x) * f0
        turn = f0 + zero
        rows = (
            (zero, turn, -self.gravity * along_x + zero),
            (-turn, zero, -self.gravity * along_y + zero),
            (-depth * along_x + zero, -depth * along_y + zero, zero),
        )
        return torch.stack([torch.stack(row, -3) for row in rows], -4)

    def damping(self, p: Tensor) -> Tensor:
        """Rate of the hyperviscosity, shape ``(..., 1, *modes)``."""
        return p[..., 2, None, None, None] * self.kept.to(p).laplacian ** 2

    def products(self, modes: Tensor, p: Tensor) -> Tensor:
        """Modes of all that is not linear with constant coefficients, shape of ``modes`` ``(..., 3, *modes)``."""
        g = self.kept.to(modes)
        along_y, along_x = g.derivative(0), g.derivative(1)
        uh, vh, _ = modes.unbind(-3)
        fields = torch.cat([modes, (along_x * vh - along_y * uh).unsqueeze(-3)], -3)
        u, v, h, zeta = padded_inverse(fields, self.fine).unbind(-3)
        if self.beta:
            zeta = zeta + self.coriolis(torch.zeros_like(p[..., 0]), self.fine)
        terms = torch.stack([zeta * v, zeta * u, 0.5 * (u * u + v * v), h * u, h * v], -3)
        turn_u, turn_v, kinetic, flux_x, flux_y = padded_forward(terms, modes.shape[-1]).unbind(-3)
        return torch.stack(
            [turn_u - along_x * kinetic, -turn_v - along_y * kinetic, -along_x * flux_x - along_y * flux_y], -3
        )

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        """See :meth:`System.simulate`.

        Raises:
            DataError: an initial state with a dry spot, where ``h <= -H``.
        """
        self.check_refine(refine)
        self.check_state(x0, leading=2)
        self.check_parameters(p)
        self.check_depth(x0, p)
        return self._flat(x0, p, lambda x, q: self._solve_waves(x, q, t, refine))

    def check_depth(self, x: Tensor, p: Tensor) -> None:
        """Raise :class:`DataError` unless there is water everywhere, in states ``(E, N, 3, Y, X)`` over depths of ``p``."""
        if len(x) != len(p):
            return
        depth = p[:, 1, None].to(x) + x[:, :, 2].amin((-2, -1))
        if bool((depth <= 0).any()):
            e, n = (depth <= 0).nonzero()[0].tolist()
            raise DataError(
                f"Trajectory {n} of environment {e} starts with a dry spot: its surface lies {-float(depth[e, n]):.3g} m "
                f"below the bottom at H = {float(p[e, 1]):g} m. Take a smaller elevation or deeper water."
            )

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of this system's data is published."""
        return self.simulate(x0, p, t)

    def _solve_waves(self, x0: Tensor, p: Tensor, t: Tensor, refine: int) -> Tensor:
        chunk = max(1, len(x0) if x0.is_cuda else TOGETHER)
        parts = []
        for x, q in zip(x0.split(chunk), p.split(chunk), strict=True):
            into, back, frequencies = self.eigenbasis(q)

            def rest(_: Tensor, a: Tensor, q: Tensor = q, into: Tensor = into, back: Tensor = back) -> Tensor:
                return _mix(into, self.products(_mix(back, a), q))

            a = integrate_exponential(
                rest,
                -1j * frequencies - self.damping(q),
                _mix(into, self.to_modes(x)),
                t,
                max_step=self.max_step / refine,
            )
            frames = self.to_field(torch.einsum("bijyx,tbjyx->tbiyx", back, a))
            parts.append(torch.cat([x[None], frames[1:]]))
        return check_finite(torch.cat(parts, 1), t)

    def eigenbasis(self, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Matrices from (u, v, h) to the amplitudes of waves and back, ``(B, 3, 3, *modes)``, and the waves'
        frequencies ``(B, 3, *modes)``: 0 and ``+-sqrt(f0^2 + g H k^2)``."""
        wide = p.double()
        # With h sqrt(g / H) for h the matrix is antihermitian.
        unit = torch.ones_like(wide[:, 1])
        size = torch.stack([unit, unit, (self.gravity / wide[:, 1]).sqrt()], -1)[..., None, None]
        matrix = self.waves(wide) * size[:, :, None] / size[:, None]
        values, vectors = torch.linalg.eigh((1j * matrix).movedim((1, 2), (-2, -1)))
        vectors = vectors.movedim((-2, -1), (1, 2))
        dtype = p.dtype.to_complex()
        into = vectors.conj().transpose(1, 2) * size[:, None]
        return into.resolve_conj().to(dtype), (vectors / size[:, :, None]).to(dtype), values.movedim(-1, 1).to(p)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        peak = 2 * math.pi / EDDY
        spectrum = lambda k: torch.exp(-(((k - peak) / (0.3 * peak)) ** 2))  # noqa: E731
        h = self.to_modes(random_field(self.fourier, spectrum, n, generator))
        g = self.kept
        variance = g.inner(h, h) * math.prod(g.shape) ** 2
        h = h * (0.3 / variance.sqrt())[:, None, None]
        slope = self.gravity / self.balanced_f
        return self.to_field(torch.stack([-slope * g.derivative(0) * h, slope * g.derivative(1) * h, h], 1))

    def invariant(self, x: Tensor, p: Tensor) -> Tensor:
        del p
        return x[..., 2, :, :].mean((-2, -1))

    def spectrum(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Wavenumbers in rad/m, ``(bins,)``, and the isotropic spectrum of kinetic energy per mass, ``(..., bins)``, of
        states ``(..., 3, Y, X)``: its sum times the distance of wavenumbers is half the variance of the velocity."""
        g = self.fourier.to(x)
        both = g.isotropic_spectrum(g.forward(x[..., :2, :, :])).sum(-2)
        return g.bins, both / (2 * g.bins[0])

    def potential_vorticity(self, x: Tensor, p: Tensor) -> Tensor:
        """``(f + zeta) / (H + h)`` on the grid, shape ``(..., Y, X)``, in 1/(m s)."""
        g = self.fourier.to(x)
        uh, vh = g.forward(x[..., :2, :, :]).unbind(-3)
        zeta = g.inverse(g.derivative(1) * vh - g.derivative(0) * uh)
        return (self.coriolis(p[..., 0], g.shape[0]) + zeta) / (p[..., 1, None, None] + x[..., 2, :, :])

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Means over the box: ``mass`` (m), ``energy`` per unit area and density (m^3/s^2), ``potential_vorticity``
        weighted by the depth and ``potential_enstrophy`` ``(H + h) q^2 / 2``."""
        u, v, h = x.unbind(-3)
        depth = p[..., 1, None, None] + h
        q = self.potential_vorticity(x, p)
        mean = lambda field: field.mean((-2, -1))  # noqa: E731
        return {
            "mass": mean(h),
            "energy": 0.5 * mean(depth * (u * u + v * v) + self.gravity * h * h),
            "potential_vorticity": mean(depth * q) / p[..., 1],
            "potential_enstrophy": 0.5 * mean(depth * q * q),
        }


def _mix(matrix: Tensor, a: Tensor) -> Tensor:
    """The matrix of every mode times its three amplitudes."""
    return torch.einsum("bijyx,bjyx->biyx", matrix, a)


_HYPERVISCOSITY = 1e10
_SPLITS = {
    "ours": (
        [(f, depth) for f in (8e-5, 1e-4, 1.2e-4) for depth in (50.0, 100.0)],
        [(9e-5, 75.0), (1.1e-4, 75.0), (7e-5, 40.0), (1.3e-4, 115.0)],
        "Ours: environments, frames and budget. Ayed et al. (2020) learn from shallow water too, of one environment.",
    ),
}


@register("shallow_water")
def shallow_water(split: Literal["ours"] = "ours", size: int = 64) -> EnvironmentFamily:
    """Rotating shallow water in a box of 1000 km, 20 frames, one an hour.

    Args:
        split: ``"ours"`` (6 seen environments in f0 and H, 4 unseen, of which 2 lie beyond the seen range).
        size: points a side.
    """
    seen, unseen, source = choose_split("shallow_water", split, _SPLITS)
    rows = lambda values: torch.tensor([(*v, _HYPERVISCOSITY) for v in values], dtype=torch.float64)  # noqa: E731
    return EnvironmentFamily(
        name="shallow_water",
        split=split,
        system=ShallowWater(size),
        seen=rows(seen),
        unseen=rows(unseen),
        times=torch.arange(20, dtype=torch.float64) * 3600.0,
        budget=Budget(train=4, test=8, valid=2, adapt_test=8),
        distribution=Box((8e-5, 50.0, _HYPERVISCOSITY), (1.2e-4, 100.0, _HYPERVISCOSITY)),
        source=source,
        arguments={"split": split, "size": size},
    )

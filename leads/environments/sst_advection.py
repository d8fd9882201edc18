"""Sea-surface temperature carried and stirred by a given current."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import whole
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.fourier_system import smooth_fields
from leads.environments.grid_system import GridSystem
from leads.environments.system import Channel, Grid, Parameter
from leads.errors import SettingsError
from leads.numerics.spectral import SpectralGrid
from leads.numerics.stencils import first_derivative, laplacian

DAY = 86_400.0
YEAR = 365.25 * DAY
#: 1/12 degree of latitude on a sphere of radius 6371 km: the spacing of GLORYS12, whose 64 x 64 crops these stand for.
SPACING = math.pi / 180 / 12 * 6.371e6
#: Eddies: waves around the box along x and y, and their phase at the western edge.
EDDIES = ((1, 1, 0.0), (2, -1, 2.0), (1, -2, 4.0), (2, 2, 1.0))


class SSTAdvection(GridSystem):
    """Sea-surface temperature T (degrees Celsius) in a current (u, v) on a periodic square of side L:

        T_t + u T_x + v T_y = kappa lap(T) + relaxation (T_air(y, t) - T)
        T_air = 20 + 3 cos(2 pi y / L) + season sin(2 pi t / year)
        u = flow - psi_y,  v = psi_x,  psi = sum_m a_m cos(k_m x + l_m y - m_x phase - k_m drift t + offset_m)

    psi has four eddy modes (2 pi / k from 210 to 420 km at the default size), each with a quarter of the kinetic energy:
    ``a_m = eddies / (sqrt(2) |k_m|)``, so that ``eddies`` is the root mean square speed; they drift along x, and ``phase``
    is where they are at t = 0. State ``(1, size, size)``, axes y and x, cells of 1/12 degree (9.27 km). Times in seconds
    since the year's start. Initial states: ``20 + 3 cos(2 pi y / L)`` and a Gaussian random field of standard deviation
    1 K and wavelengths above 100 km.

    The motion itself is :meth:`current`, for checks of motion that a model recovered without being shown it.

    Discretisation: centred differences of order 6; advection in the skew-symmetric form
    ``1/2 (u . grad T + div(u T))`` and velocities by the same differences of psi, so that the discrete divergence
    vanishes. Without relaxation the mean is conserved, and the variance obeys ``d<T^2>/dt = 2 kappa <T lap T>``, to
    rounding. Measured: order 6 in space; with 64 cells and kappa = 300 the solution after 9 days is within 0.0006 K
    (eddies of 0.1 m/s) to 0.005 K (0.25 m/s) root mean square of that on cells half as wide, with a standard deviation of
    2 K. Filaments are ``sqrt(kappa / strain)`` wide, about a cell here: less diffusion or faster eddies need finer
    cells. Time: order 8, relative error below 1e-8.

    Values: eddies of 0.15 m/s and drifts of 2 cm/s are those of altimetry and of long Rossby waves at 38 N; a
    relaxation of 2e-7 / s is 40 W/m2/K (Haney, 1971) over 50 m of water. Exact in a uniform flow: a Gaussian that
    widens as ``2 kappa t``. Source: the physics of de Bezenac et al. (2018), whose own data are GLORYS/NEMO crops.

    Args:
        size: cells a side, at least 16.
        spacing: width of a cell in m.

    Raises:
        SettingsError: too few cells, or a width that is not positive.
    """

    channels = (Channel("temperature", "degC", "sea-surface temperature"),)
    parameters = (
        Parameter("kappa", "m2 s-1", 0.0, 5000.0, "horizontal diffusivity"),
        Parameter("eddies", "m s-1", 0.0, 1.0, "root mean square speed of the eddies"),
        Parameter("drift", "m s-1", -0.2, 0.2, "eastward drift of the eddies"),
        Parameter("phase", "rad", -2 * math.pi, 2 * math.pi, "zonal position of the eddies"),
        Parameter("flow", "m s-1", -1.0, 1.0, "uniform eastward flow"),
        Parameter("relaxation", "s-1", 0.0, 2e-6, "rate of relaxation to the air"),
        Parameter("season", "K", 0.0, 15.0, "amplitude of the air's seasonal cycle"),
    )
    rtol, atol = 1e-9, 1e-9
    mean, contrast = 20.0, 3.0

    def __init__(self, size: int = 64, spacing: float = SPACING) -> None:
        size = whole("size", size, 16, "eddies, two waves a side, and the initial field must be resolved")
        if not spacing > 0:
            raise SettingsError(f"The width of a cell must be positive, got {spacing:g} m.")
        self.grid = Grid((size, size), (spacing, spacing), ("y", "x"), "m")
        self.modes = _velocity_modes(size, spacing)

    @property
    def length(self) -> float:
        """Side of the square in m."""
        assert self.grid is not None
        return self.grid.shape[0] * self.grid.spacing[0]

    def current(self, t: Tensor, p: Tensor) -> Tensor:
        """The current (u, v) in m/s.

        Args:
            t: time in s, shape ``()`` or leading axes like those of ``p``.
            p: parameters, shape ``(..., P)``.

        Returns:
            Shape ``(..., 2, size, size)``.
        """
        lead = tuple(range(p.ndim - 1))
        u, v = self._velocity(t, p.movedim(-1, 0))
        return torch.stack([u, v]).movedim(tuple(a + 3 for a in lead), lead)

    def rates(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        assert self.grid is not None
        warm = x[0]
        kappa, relaxation, season = p[0], p[5], p[6]
        u, v = self._velocity(t, p)
        dy, dx = self.grid.spacing
        carried = u * first_derivative(warm, dx, 1, 6) + v * first_derivative(warm, dy, 0, 6)
        spread = first_derivative(u * warm, dx, 1, 6) + first_derivative(v * warm, dy, 0, 6)
        y = torch.arange(len(warm), dtype=x.dtype, device=x.device).reshape(-1, *(1,) * (warm.ndim - 1))
        north = self.contrast * torch.cos(2 * math.pi / len(warm) * y)
        air = self.mean + north + season * torch.sin(2 * math.pi / YEAR * t).to(x)
        mixed = kappa * laplacian(warm, (dy, dx), 6)
        return (mixed - 0.5 * (carried + spread) + relaxation * (air - warm))[None]

    def _velocity(self, t: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """u and v, each ``(Y, X, *B)``, of parameters ``(P, *B)``."""
        _, eddies, drift, phase, flow, _, _ = p
        trailing = (1,) * (p.ndim - 1)
        modes = self.modes.to(p).reshape(*self.modes.shape, *trailing)
        u, v = flow, torch.zeros_like(flow)
        for (mx, _, offset), (even, odd) in zip(EDDIES, modes, strict=True):
            angle = mx * (phase + 2 * math.pi / self.length * drift * t) - offset
            cosine, sine = eddies * torch.cos(angle).to(p), eddies * torch.sin(angle).to(p)
            u = u + even[0] * cosine + odd[0] * sine
            v = v + even[1] * cosine + odd[1] * sine
        return u, v

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of this system's data is published."""
        return self.simulate(x0, p, t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        assert self.grid is not None
        grid = SpectralGrid(self.grid.shape, (self.length, self.length))
        eddies = smooth_fields(grid, 2 * math.pi * 3 / self.length, n, generator)
        north = self.contrast * torch.cos(2 * math.pi / self.length * self.grid.coordinates(0))
        return (self.mean + north[:, None] + eddies).unsqueeze(1)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Mean (degC), variance (K2) and the rate at which diffusion destroys variance (K2/s), each ``(...)``."""
        assert self.grid is not None
        warm = x[..., 0, :, :]
        anomaly = warm - warm.mean((-2, -1), keepdim=True)
        curved = laplacian(anomaly.movedim((-2, -1), (0, 1)), self.grid.spacing, 6).movedim((0, 1), (-2, -1))
        return {
            "mean": warm.mean((-2, -1)),
            "variance": anomaly.square().mean((-2, -1)),
            "dissipation": -2 * p[..., 0] * (anomaly * curved).mean((-2, -1)),
        }


def _velocity_modes(size: int, spacing: float) -> Tensor:
    """Velocities of the cosine and the sine of every eddy mode at unit speed, shape ``(M, 2, 2, size, size)``."""
    angle = 2 * math.pi / size * torch.arange(size, dtype=torch.float64)
    modes = []
    for mx, my, _ in EDDIES:
        wave = mx * angle + my * angle[:, None]
        speed = math.sqrt(2 / len(EDDIES)) * size * spacing / (2 * math.pi * math.hypot(mx, my))
        for psi in (speed * torch.cos(wave), speed * torch.sin(wave)):
            modes += [-first_derivative(psi, spacing, 0, 6), first_derivative(psi, spacing, 1, 6)]
    return torch.stack(modes).reshape(len(EDDIES), 2, 2, size, size)


def _environment(eddies: float, drift: float, phase: float) -> tuple[float, ...]:
    return (300.0, eddies, drift, phase, 0.0, 2e-7, 5.0)


#: seen, unseen, budget, range of fresh environments, source
_SPLITS = {
    "ours": (
        tuple(_environment(*q) for q in product((0.1, 0.2), (-0.02, 0.02), (0.0, 2.0))),
        tuple(_environment(*q) for q in product((0.15, 0.25), (-0.01,), (1.0, 3.0))),
        Budget(train=8, test=16, valid=4, adapt_test=16),
        Box(_environment(0.1, -0.02, 0.0), _environment(0.2, 0.02, 2.0)),
        "Ours, after the physics of de Bezenac et al. (2018): four daily images and six to forecast.",
    ),
}


@register("sst_advection")
def sst_advection(split: Literal["ours"] = "ours", size: int = 64) -> EnvironmentFamily:
    """Sea-surface temperature, 10 daily frames, tested on 20.

    Args:
        split: ``"ours"`` (8 seen, 4 unseen currents: speed, drift and position of the eddies).
        size: cells of 1/12 degree a side.
    """
    seen, unseen, budget, box, source = choose_split("sst_advection", split, _SPLITS)
    return EnvironmentFamily(
        name="sst_advection",
        split=split,
        system=SSTAdvection(size),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(10, dtype=torch.float64) * DAY,
        test_times=torch.arange(20, dtype=torch.float64) * DAY,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split, "size": size},
    )

"""The wind-driven double gyre in a closed basin: western boundary currents and the eddies they shed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from leads.environments.arguments import whole
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Grid, Parameter, System
from leads.errors import SettingsError
from leads.integrators import check_finite, integrate
from leads.numerics.sine import sine_eigenvalues, sine_transform_2d

DAY = 86400.0
GRAVITY = 9.81


class Flow(NamedTuple):
    """``psi`` relative to the walls and its vorticity on the inner points, the value on the walls, coefficients of psi."""

    psi: Tensor
    zeta: Tensor
    wall: Tensor
    coefficients: Tensor


class DoubleGyre(System):
    """Quasi-geostrophic flow of the upper ocean in a square basin of side L on a beta-plane, under a zonal wind:

        q = zeta - psi / rd^2,   zeta = lap psi
        dq/dt + J(psi, q) + beta psi_x = -(2 pi tau / (rho H L)) sin(2 pi y / L) + A lap zeta - r zeta

    The wind stress ``-tau cos(2 pi y / L)`` drives a subpolar and a subtropical gyre, which meet in a jet. Walls let
    nothing through and nothing slip (psi uniform along them) and are free of stress (zeta = 0). The value of psi on the
    walls follows from the conservation of mass, ``mean(psi) = 0`` (McWilliams, 1977); ``rd = inf`` gives the
    barotropic model, in which it does not matter. SI units; state ``(1, size, size)``: q on the inner points.

    Without wind, viscosity and drag the energy ``mean(|grad psi|^2 + psi^2 / rd^2) / 2`` is conserved, and
    ``mean(zeta^2)`` too where rd is infinite. With them the energy follows :meth:`energy_budget`. Where advection is
    negligible the steady state is Stommel's (1948; boundary current of width ``r / beta``) or Munk's (1950; ``(A /
    beta)^(1/3)``).

    Numerics: Arakawa's (1966) Jacobian, which conserves energy and enstrophy, and the five-point Laplacian, inverted by
    sine series: second order in space. The classical Runge-Kutta method of order 4, steps of at most 80 minutes
    (relative error 1e-6 after 20 days of an unsteady jet).

    Initial states: three years under the parameters ``reference`` from (nearly) rest, one run that all draws share and
    that is kept; each draw adds a random vorticity of its own to it and goes on for half a year.

    Source: Thiry, Li, Roullet and Memin (2024), MQGeometry, its double gyre: form of the wind, depth of the upper layer,
    Coriolis parameter, beta, drag, grid distance and, for the radius, its barotropic mode. Ours: a single layer; a
    basin a quarter as wide under a wind half as strong, so that its curl is twice the published one; and the viscosity
    (there implicit in the upwind scheme), which keeps Munk's layer as wide as the grid distance. A smaller ``rd`` or
    more drag calms the jet; with a radius as small as the first baroclinic one (41.5 km) the gyres spin up for decades.

    Args:
        size: inner points a side, at least 16.
        length: side of the basin in m, from wall to wall.
        spin_up_days: of the run that all draws share, and of each draw's own.

    Raises:
        SettingsError: a grid that is too coarse.
    """

    channels = (Channel("q", "s-1", "potential vorticity"),)
    parameters = (
        Parameter("tau", "N m-2", 0.0, 1.0, "amplitude of the wind stress"),
        Parameter("A", "m2 s-1", 0.0, 1e5, "lateral viscosity"),
        Parameter("r", "s-1", 0.0, 1e-5, "bottom drag"),
        Parameter("beta", "m-1 s-1", 0.0, 2.3e-11, "northward gradient of the Coriolis parameter"),
        Parameter("rd", "m", 1e4, math.inf, "deformation radius"),
    )
    #: Longest step of a reference solution.
    step = 4800.0
    #: Depth of the moving layer in m, density in kg/m3, Coriolis parameter in 1/s.
    depth, density, f0 = 400.0, 1000.0, 9.375e-5
    reference = (0.04, 250.0, 3.6e-8, 1.754e-11, 2.142e6)

    def __init__(
        self, size: int = 64, length: float = 1.28e6, spin_up_days: tuple[float, float] = (1080.0, 180.0)
    ) -> None:
        size = whole("size", size, 16, "two inner points for each half wave of the initial states")
        if not 0 < length < math.inf:
            raise SettingsError(f"The side of the basin must be positive, got length={length}.")
        spacing = length / (size + 1)
        self.grid: Grid = Grid((size, size), (spacing, spacing), ("y", "x"), "m", periodic=False)
        self.length = length
        self.spin_up_days = spin_up_days

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        return self.tendency(p)(x)

    def tendency(self, p: Tensor) -> Callable[[Tensor], Tensor]:
        """``dq/dt`` as a function of states; what depends on ``p`` alone is computed once."""
        _, viscosity, drag, beta, _ = self.split(p)
        invert, wind = self._inversion(p), self.wind(p)
        eigenvalues = self._eigenvalues(p)
        friction = (viscosity * eigenvalues - drag) * eigenvalues
        spacing = self.grid.spacing[0]

        def tendency(x: Tensor) -> Tensor:
            flow = invert(x)
            # J(psi, q) = J(psi, zeta): what q holds of psi itself falls out.
            advected, slope = arakawa(flow.psi, flow.zeta, spacing)
            slow = sine_transform_2d(friction * flow.coefficients) + wind
            return (slow - torch.addcmul(advected, beta, slope)).unsqueeze(-3)

        return tendency

    def wind(self, p: Tensor) -> Tensor:
        """Vorticity input in 1/s2, ``(..., Y, 1)``."""
        tau = self.split(p)[0]
        size = self.grid.shape[0]
        y = torch.arange(1, size + 1, dtype=p.dtype, device=p.device) / (size + 1)
        curl = -2 * math.pi / (self.density * self.depth * self.length) * torch.sin(2 * math.pi * y)
        return tau * curl[:, None]

    def streamfunction(self, x: Tensor, p: Tensor) -> Tensor:
        """psi in m2/s on the inner points, ``(..., Y, X)``, of mean zero over the basin; on the walls it is uniform."""
        flow = self._flow(x, p)
        return flow.psi + flow.wall

    def ssh(self, x: Tensor, p: Tensor) -> Tensor:
        """Sea surface height ``f0 psi / g`` in m, ``(..., Y, X)``."""
        return self.f0 / GRAVITY * self.streamfunction(x, p)

    def vorticity(self, x: Tensor, p: Tensor) -> Tensor:
        """zeta in 1/s, ``(..., Y, X)``."""
        return self._flow(x, p).zeta

    def velocity(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Eastward and northward velocity in m/s by centred differences, each ``(..., Y, X)``."""
        psi = pad(self._flow(x, p).psi, (1, 1, 1, 1))
        twice = 2 * self.grid.spacing[0]
        return (psi[..., :-2, 1:-1] - psi[..., 2:, 1:-1]) / twice, (psi[..., 1:-1, 2:] - psi[..., 1:-1, :-2]) / twice

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Means over the basin: kinetic and available potential energy in m2/s2, enstrophy ``zeta^2 / 2`` in 1/s2."""
        flow = self._flow(x, p)
        screening = p[..., 4] ** -2
        wall = flow.wall[..., 0, 0]
        return {
            "kinetic energy": -self._mean(flow.psi * flow.zeta) / 2,
            "available potential energy": screening * (self._mean(flow.psi.square()) - wall**2) / 2,
            "enstrophy": self._mean(flow.zeta.square()) / 2,
        }

    def energy_budget(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Rates of change of the energy in m2/s3, ``(...)`` each; they add up to ``dE/dt``: wind, viscosity, drag."""
        flow = self._flow(x, p)
        lap_zeta = sine_transform_2d(self._eigenvalues(x) ** 2 * flow.coefficients)
        return {
            "wind": -self._mean(flow.psi * self.wind(p)),
            "viscosity": -p[..., 1] * self._mean(flow.psi * lap_zeta),
            "drag": p[..., 2] * self._mean(flow.psi * flow.zeta),
        }

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        return self._flat(x0, p, lambda x, q: self._advance(x, q, t, self.step / refine))

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of this system's data is published."""
        return self.simulate(x0, p, t)

    def _advance(self, x0: Tensor, p: Tensor, t: Tensor, step: float) -> Tensor:
        parts = []
        for x, q in zip(x0.split(CHUNK), p.split(CHUNK), strict=True):
            tendency = self.tendency(q)
            field = lambda _, y, tendency=tendency: tendency(y)  # noqa: E731
            parts.append(integrate(field, x, t, method="rk4", max_step=step))
        states = torch.cat(parts, 1)
        check_finite(states, t)
        return states

    def _flow(self, x: Tensor, p: Tensor) -> Flow:
        return self._inversion(p)(x)

    def _inversion(self, p: Tensor) -> Callable[[Tensor], Flow]:
        screening = self.split(p)[4] ** -2
        size = self.grid.shape[0]
        inverse = 1 / (self._eigenvalues(p) - screening)
        ones = sine_transform_2d(torch.ones(size, size, dtype=p.dtype, device=p.device))
        total = lambda coefficients: (ones * coefficients).sum((-2, -1), keepdim=True) / (size + 1) ** 2  # noqa: E731
        # psi = own + wall (1 + response): the mean over the basin, walls included, must vanish.
        response = screening * inverse * ones
        weights = -ones * inverse / ((size + 1) ** 2 * (1 + total(response)))

        def invert(x: Tensor) -> Flow:
            q = x[..., 0, :, :]
            transformed = sine_transform_2d(q)
            wall = (weights * transformed).sum((-2, -1), keepdim=True)
            coefficients = torch.addcmul(inverse * transformed, wall, response)
            psi = sine_transform_2d(coefficients)
            return Flow(psi, torch.addcmul(q, screening, psi + wall), wall, coefficients)

        return invert

    def _eigenvalues(self, x: Tensor) -> Tensor:
        return sine_eigenvalues(self.grid.shape, (self.length, self.length), like=x)  # type: ignore[arg-type]

    def _mean(self, values: Tensor) -> Tensor:
        return values.sum((-2, -1)) / (self.grid.shape[0] + 1) ** 2

    # Initial states.

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        """Random vorticities on the 8 x 8 largest sines, rms one tenth of 1e-5 1/s."""
        size = self.grid.shape[0]
        modes = torch.zeros(n, size, size, dtype=torch.float64)
        modes[:, :8, :8] = torch.from_numpy(generator.standard_normal((n, 8, 8)))
        field = sine_transform_2d(modes)
        return 1e-6 * (field / field.square().mean((-2, -1), keepdim=True).sqrt())[:, None]

    def spin_up(self, x: Tensor) -> Tensor:
        p = torch.tensor([self.reference], dtype=x.dtype)
        base = _spun_up(self.grid.shape[0], self.length, self.spin_up_days[0]).to(x)
        t = torch.tensor([0.0, self.spin_up_days[1] * DAY], dtype=torch.float64)
        return self._flat((base + x)[None], p, lambda y, q: self._advance(y, q, t, 14400.0))[0, :, -1]


#: Trajectories advanced together: with their slopes they stay in a core's cache.
CHUNK = 8


@lru_cache(maxsize=4)
def _spun_up(size: int, length: float, days: float) -> Tensor:
    """The flow that the reference wind makes of a faint random one, ``(1, size, size)``; single precision will do."""
    system = DoubleGyre(size, length)
    x = system.sample_x0(1, np.random.RandomState(0)).float()
    t = torch.tensor([0.0, days * DAY], dtype=torch.float64)
    with torch.no_grad():
        return system._advance(x, torch.tensor([system.reference], dtype=torch.float32), t, 14400.0)[-1, 0]


def arakawa(psi: Tensor, zeta: Tensor, spacing: float) -> tuple[Tensor, Tensor]:
    """``J(psi, zeta) = psi_x zeta_y - psi_y zeta_x`` by Arakawa (1966), equation 46, and ``psi_x`` by centred differences.

    J is the mean of the advective form and the two flux forms. Second order; the sums of ``psi J`` and ``zeta J`` vanish
    to rounding.

    Args:
        psi, zeta: inner points of fields that vanish on the walls, ``(..., Y, X)``.
        spacing: distance of points.

    Returns:
        Two fields of the shape of ``psi``.
    """
    psi_x, psi_y = centred(psi, -1), centred(psi, -2)
    zeta_x, zeta_y = centred(zeta, -1), centred(zeta, -2)
    along_x = torch.addcmul(psi * zeta_y, zeta, psi_y, value=-1)
    along_y = torch.addcmul(zeta * psi_x, psi, zeta_x, value=-1)
    plain = torch.addcmul(psi_x * zeta_y, psi_y, zeta_x, value=-1)
    return (plain + centred(along_x, -1) + centred(along_y, -2)) / (12 * spacing**2), psi_x / (2 * spacing)


def centred(x: Tensor, axis: int) -> Tensor:
    """``x[i + 1] - x[i - 1]`` along the axis -1 or -2, zero standing beyond both ends."""
    n = x.shape[axis]
    if n <= DENSE:
        d = _differences(n, x.device, x.dtype)
        return d @ x if axis == -2 else x @ d.mT
    wide = pad(x, (1, 1) if axis == -1 else (0, 0, 1, 1))
    return wide.narrow(axis, 2, n) - wide.narrow(axis, 0, n)


#: Up to this many points a product with a matrix is faster than differencing.
DENSE = 128


@lru_cache(maxsize=16)
def _differences(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        up = torch.ones(n - 1, dtype=dtype, device=device).diag(1)
        return up - up.mT


_BETA, _DRAG, _RADIUS = 1.754e-11, 3.6e-8, 2.142e6

#: seen, unseen, range of fresh environments
_SPLITS = {
    "wind": (
        [(tau, a, _DRAG, _BETA, _RADIUS) for tau, a in product((0.03, 0.04, 0.05), (200.0, 300.0))],
        [(tau, a, _DRAG, _BETA, _RADIUS) for tau, a in product((0.035, 0.055), (250.0, 350.0))],
        Box((0.03, 200.0, _DRAG, _BETA, _RADIUS), (0.05, 300.0, _DRAG, _BETA, _RADIUS)),
    ),
    "planet": (
        [(0.04, 250.0, _DRAG, beta, rd) for beta, rd in product((1.5e-11, 1.754e-11, 2e-11), (5e5, _RADIUS))],
        [(0.04, 250.0, _DRAG, beta, rd) for beta, rd in product((1.6e-11, 2.2e-11), (3e5, 1e6))],
        Box((0.04, 250.0, _DRAG, 1.5e-11, 5e5), (0.04, 250.0, _DRAG, 2e-11, _RADIUS)),
    ),
}


@register("double_gyre")
def double_gyre(split: Literal["wind", "planet"] = "wind", size: int = 64, frames: int = 21) -> EnvironmentFamily:
    """The double gyre, a frame a day.

    Args:
        split: ``"wind"`` (6 seen, 4 unseen environments in wind and viscosity) or ``"planet"`` (6 seen, 4 unseen in beta
            and deformation radius).
        size: inner points a side.
        frames: of each trajectory.
    """
    seen, unseen, box = choose_split("double_gyre", split, _SPLITS)
    return EnvironmentFamily(
        name="double_gyre",
        split=split,
        system=DoubleGyre(size),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * DAY,
        budget=Budget(train=4, test=4, valid=2, adapt=1, adapt_test=4),
        distribution=box,
        source="Thiry et al. (2024), MQGeometry, cut down to one layer and a smaller basin (see DoubleGyre); environments "
        "ours.",
        arguments={"split": split, "size": size, "frames": frames},
    )

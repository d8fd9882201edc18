"""The 1.5-layer quasi-geostrophic model of sea surface height: an active upper layer over a deep one at rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import points
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.quasi_geostrophic import Dissipation, PeriodicQG
from leads.environments.system import Channel, Parameter, Term
from leads.errors import SettingsError
from leads.numerics import SpectralGrid, advection, random_field

DAY = 86400.0
GRAVITY = 9.81
#: Rotation rate of the Earth in 1/s and its mean radius in m.
ROTATION, RADIUS = 7.2921e-5, 6.371e6
#: Wavelength in m at which the initial states have most of their energy.
EDDY = 250e3


class Rotation(NamedTuple):
    """Coriolis parameter in 1/s, its northward gradient in 1/(m s), inverse square of the deformation radius in 1/m2."""

    f: Tensor
    beta: Tensor
    stretching: Tensor


def rotation(latitude: Tensor, c: Tensor) -> Rotation:
    """``f = 2 Omega sin(latitude)``, ``beta = 2 Omega cos(latitude) / R`` and ``Rd^-2 = f^2 / c^2``; latitude in degrees."""
    angle = latitude * (math.pi / 180)
    f = 2 * ROTATION * torch.sin(angle)
    return Rotation(f, 2 * ROTATION / RADIUS * torch.cos(angle), (f / c) ** 2)


class EquivalentBarotropicQG(PeriodicQG):
    """Sea surface height h, carried by the surface geostrophic flow it implies:

        q = (g/f) lap h - (g f / c^2) h,   psi = g h / f
        dq/dt + J(psi, q) + beta psi_x = -drag lap psi + dissipation

    with f and beta those of the latitude and c the speed of long gravity waves of the first baroclinic mode; the
    deformation radius is ``Rd = c / f``. The box is doubly periodic with points 10 km apart. SI units, latitude in
    degrees north; state ``(1, size, size)``: h in m.

    Linear waves obey ``omega = -beta k / (k^2 + l^2 + Rd^-2)``. The mean of h is conserved (the invariant); without drag
    advection also conserves the energy ``mean(|grad psi|^2 + psi^2 / Rd^2) / 2`` and the potential enstrophy
    ``mean(q^2) / 2``; ``dissipation`` removes mostly enstrophy.

    Numerics: see :class:`PeriodicQG`, waves and drag solved exactly; pyqg's filter, applied once in 7200 s.
    Steps are at most one hour (relative error 3e-7 after 20 days).

    Initial states: a Gaussian random h, rms 0.1 m, with energy at scales around 250 km (the mesoscale of altimetry, 80
    to 900 km), then :meth:`spin_up` for 30 days at the parameters ``reference``, in which vortices form.

    Source: Ubelmann, Klein and Fu (2015); Le Guillou et al., MASSH (model ``qg1l``, where c = 2.7 m/s).

    Args:
        size: points a side.
        dissipation: see :class:`PeriodicQG`.
        spacing: distance of points in m.

    Raises:
        SettingsError: a box smaller than the initial eddies, or points too far apart for them.
    """

    channels = (Channel("ssh", "m", "sea surface height"),)
    parameters = (
        Parameter("latitude", "degrees_north", 5.0, 85.0, "latitude of the beta-plane"),
        Parameter("c", "m s-1", 0.5, 5.0, "long gravity-wave speed of the first baroclinic mode"),
        Parameter("drag", "s-1", 0.0, 1e-5, "linear drag on the flow"),
    )
    terms = (
        Term("advection", ("latitude", "c")),
        Term("planetary", ("latitude", "c")),
        Term("drag", ("latitude", "c", "drag")),
        Term("dissipation"),
    )
    step, filter_step = 3600.0, 7200.0
    #: Parameters of the spin-up, and its length.
    reference = (38.0, 2.7, 0.0)
    spin_up_days = 30.0

    def __init__(self, size: int = 64, dissipation: Dissipation = "filter", spacing: float = 1e4) -> None:
        # Beyond e^(2 x 0.3) times the peak's wavenumber lies a fortieth of the initial energy; the filter starts at 0.65.
        coarsest = 0.65 * EDDY / (2 * math.exp(0.6))
        if not 0 < spacing <= coarsest:
            raise SettingsError(
                f"Eddies of {EDDY:g} m need points at most {coarsest:.0f} m apart, got spacing={spacing}."
            )
        size = points("size", size, EDDY / spacing - 1, 1, f"the box must hold an eddy of {EDDY:g} m", even=True)
        super().__init__(size, size * spacing, "m", dissipation)

    def linear(self, p: Tensor) -> Tensor:
        g = self.modes.to(p)
        latitude, c, drag = self.split(p)
        place = rotation(latitude, c)
        inverse = 1 / (g.k2 + place.stretching)
        return ((place.beta * g.derivative(-1) - drag * g.k2) * inverse + self.damping(p)).unsqueeze(-3)

    def tendency(self, p: Tensor) -> Callable[[Tensor], Tensor]:
        g = self.modes.to(p)
        inverse = (-1 / (g.k2 + self._rotation(p).stretching)).unsqueeze(-3).to(p.dtype.to_complex())
        return lambda qh: -advection(g, inverse * qh, qh, dealias=self.dealias)

    def parts(self, t: Tensor, x: Tensor, p: Tensor) -> dict[str, Callable[[], Tensor]]:
        """``advection`` -J(psi, q); ``planetary`` -beta psi_x; ``drag``; ``dissipation`` of the small scales: each as the
        rate of h that it gives."""
        return {term.name: partial(self._sum, (term.name,), t, x, p) for term in self.terms}

    def _sum(self, names: tuple[str, ...], t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        # All named terms share one transform each way.
        del t
        g = self.modes.to(x)
        _, _, drag = self.split(p)
        place = self._rotation(p)
        xh = g.forward(x)
        qh = self.to_pv(xh, p)
        # Diagonals that act on psi and on q.
        on_psi = torch.zeros_like(g.derivative(-1) + 0 * g.k2)
        if "planetary" in names:
            on_psi = on_psi - place.beta * g.derivative(-1)
        if "drag" in names:
            on_psi = on_psi + drag * g.k2
        rate = on_psi.unsqueeze(-3) * (-qh / (g.k2 + place.stretching).unsqueeze(-3))
        if "advection" in names:
            rate = rate + self.tendency(p)(qh)
        rate = self.from_pv(rate, p)
        return g.inverse(rate + self.damping(p) * xh if "dissipation" in names else rate)

    def to_pv(self, xh: Tensor, p: Tensor) -> Tensor:
        return self._factor(p) * xh

    def from_pv(self, qh: Tensor, p: Tensor) -> Tensor:
        return qh / self._factor(p)

    def _rotation(self, p: Tensor) -> Rotation:
        return rotation(*self.split(p)[:2])

    def _factor(self, p: Tensor) -> Tensor:
        """From h to q, ``(..., 1, Y, X // 2 + 1)``."""
        place = self._rotation(p)
        return (-GRAVITY / place.f * (self.modes.to(p).k2 + place.stretching)).unsqueeze(-3)

    def potential_vorticity(self, x: Tensor, p: Tensor) -> Tensor:
        """q in 1/s, ``(..., Y, X)``, of states ``(..., 1, Y, X)``."""
        g = self.modes.to(x)
        return g.inverse(self._factor(p) * g.forward(x))[..., 0, :, :]

    def velocity(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Eastward and northward surface geostrophic velocity in m/s, each ``(..., Y, X)``."""
        g = self.modes.to(x)
        psih = GRAVITY / self._rotation(p).f * g.forward(x[..., 0, :, :])
        return g.inverse(-g.derivative(0) * psih), g.inverse(g.derivative(1) * psih)

    def invariant(self, x: Tensor, p: Tensor) -> Tensor:
        """Mean of h in m."""
        del p
        return x[..., 0, :, :].mean((-2, -1))

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Means over the box: kinetic and available potential energy in m2/s2, potential enstrophy in 1/s2, h in m."""
        g = self.modes.to(x)
        place = rotation(p[..., 0], p[..., 1])
        h = x[..., 0, :, :]
        xh = g.forward(h)
        ratio = (GRAVITY / place.f) ** 2
        return {
            "kinetic energy": ratio * g.inner(g.k2 * xh, xh) / 2,
            "available potential energy": ratio * place.stretching * h.square().mean((-2, -1)) / 2,
            "enstrophy": self.potential_vorticity(x, p).square().mean((-2, -1)) / 2,
            "mean sea surface height": h.mean((-2, -1)),
        }

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        g = self.modes
        # Points 40 km apart, so that a grid of any resolution gets the same field.
        side = max(16, 2 * round(g.lengths[0] / 80e3))
        box = SpectralGrid((side, side), g.lengths)
        peak = 2 * math.pi / EDDY
        # Kinetic energy, k^2 times this, has its largest density at the peak.
        draws = random_field(box, lambda k: k**-1 * torch.exp(-((k / peak).log() ** 2) / (2 * 0.3**2)), n, generator)
        h = g.inverse(box.resample(box.forward(draws), g.shape))
        return 0.1 * (h / h.square().mean((1, 2), keepdim=True).sqrt())[:, None]

    def spin_up(self, x: Tensor) -> Tensor:
        return self.settle(x, self.reference, self.spin_up_days * DAY, 7200.0)


#: seen, unseen, range of fresh environments, source
_SPLITS = {
    "latitude": (
        [(latitude, c, 0.0) for latitude, c in product((32.0, 36.0, 40.0), (2.4, 2.7, 3.0))],
        [(latitude, c, 0.0) for latitude, c in product((34.0, 45.0), (2.2, 2.55))],
        Box((32.0, 2.4, 0.0), (40.0, 3.0, 0.0)),
        "Latitudes and wave speeds of the 1.5-layer altimetry literature (MASSH: c = 2.7 m/s); environments ours.",
    ),
    "drag": (
        [(38.0, c, drag) for c, drag in product((2.4, 2.7, 3.0), (0.0, 3e-7))],
        [(38.0, c, drag) for c, drag in product((2.2, 2.55), (1.5e-7, 5.787e-7))],
        Box((38.0, 2.4, 0.0), (38.0, 3.0, 3e-7)),
        'As "latitude", at 38 degrees north with the drags of two-layer studies (up to pyqg\'s 5.787e-7); ours.',
    ),
}


@register("equivalent_barotropic_qg")
def equivalent_barotropic_qg(
    split: Literal["latitude", "drag"] = "latitude", size: int = 64, frames: int = 21
) -> EnvironmentFamily:
    """Sea surface height of the 1.5-layer model, daily frames.

    Args:
        split: ``"latitude"`` (9 seen, 4 unseen environments in latitude and wave speed) or ``"drag"`` (6 seen, 4 unseen
            in wave speed and drag).
        size: points a side, 10 km apart.
        frames: of each trajectory.
    """
    seen, unseen, box, source = choose_split("equivalent_barotropic_qg", split, _SPLITS)
    return EnvironmentFamily(
        name="equivalent_barotropic_qg",
        split=split,
        system=EquivalentBarotropicQG(size),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * DAY,
        budget=Budget(train=4, test=4, valid=2, adapt=1, adapt_test=4),
        distribution=box,
        source=source,
        arguments={"split": split, "size": size, "frames": frames},
    )

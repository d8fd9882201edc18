"""Two-layer quasi-geostrophic turbulence: eddies fed by a sheared mean current (Phillips, 1951)."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from functools import lru_cache, partial
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import points
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.quasi_geostrophic import CHUNK, Dissipation, PeriodicQG
from leads.environments.system import Channel, Parameter, Term
from leads.integrators import check_finite, check_times
from leads.numerics import SpectralGrid, random_field

DAY = 86400.0
GRAVITY = 9.81
#: Weights of the newest and older slopes at orders 1, 2 and 3.
ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12))

#: The terms that :meth:`TwoLayerQG.tendency` holds; the dissipation is solved exactly.
MOVING = ("advection", "planetary", "mean flow", "drag")


class Coupling(NamedTuple):
    """``F1 = rd^-2 / (1 + delta)``, ``F2 = delta F1``, the share ``H1 / H`` of the upper layer, and both ``Q_y``."""

    f1: Tensor
    f2: Tensor
    share: Tensor
    gradient: tuple[Tensor, Tensor]


def coupling(beta: Tensor, rd: Tensor, delta: Tensor, shear: Tensor) -> Coupling:
    """What the parameters mean for the equations."""
    f1 = 1 / (rd**2 * (1 + delta))
    f2 = delta * f1
    return Coupling(f1, f2, delta / (1 + delta), (beta + f1 * shear, beta - f2 * shear))


class TwoLayerQG(PeriodicQG):
    """Two layers of depths H1 and H2 on a beta-plane, upper one first, around a mean current U in the upper layer:

        q1 = lap psi1 + F1 (psi2 - psi1),   q2 = lap psi2 + F2 (psi1 - psi2)
        dq1/dt + J(psi1, q1) + U q1_x + (beta + F1 U) psi1_x = dissipation
        dq2/dt + J(psi2, q2)          + (beta - F2 U) psi2_x = -rek lap psi2 + dissipation

    with ``delta = H1/H2``, ``F1 = rd^-2 / (1 + delta)``, ``F2 = delta F1`` (the convention of pyqg). A mean current in
    both layers would only add a Doppler shift. SI units; state ``(2, size, size)``: q1 and q2 in 1/s.

    The current is unstable where U exceeds ``Uc = beta / F2`` (without drag): :func:`growth_rate`. Advection conserves
    the energy ``KE1 + KE2 + APE`` and the depth-weighted enstrophy ``sum H_i q_i^2 / 2H``; without shear, drag and
    dissipation they are conserved by the equations, the energy and the sum of the layers' enstrophies (single layers'
    are not, since ``beta`` moves enstrophy between them). With them the energy follows :meth:`energy_budget`.

    Numerics: see :class:`PeriodicQG`; pyqg's filter, applied once in 7200 s. Steps are at most 90 minutes (relative
    error 3e-7 after 20 days of developed turbulence).
    ``simulate_published`` is pyqg's stepper (third-order Adams-Bashforth started by Euler, the filter once every step).

    Initial states: a random flow of rms ``speeds``, about those of developed turbulence, the same in both layers but
    for its amplitude and with energy at scales around ``L / 6``, then :meth:`spin_up` for ``spin_up_days`` at the
    parameters ``reference``. These know no environment, so where one differs much its first weeks show the adjustment.

    Source: Phillips (1951); Salmon (1980); pyqg; Ross et al. (2023), JAMES 15, e2022MS003258.

    Args:
        size: points a side.
        dissipation: see :class:`PeriodicQG`.
        length: side of the box in m.
        f0: Coriolis parameter in 1/s, for the sea surface height alone.
        reference, speeds, spin_up_days: of the initial states.
    """

    channels = (
        Channel("q1", "s-1", "potential vorticity of the upper layer"),
        Channel("q2", "s-1", "potential vorticity of the lower layer"),
    )
    parameters = (
        Parameter("beta", "m-1 s-1", 0.0, 2.3e-11, "northward gradient of the Coriolis parameter"),
        Parameter("rd", "m", 5e3, 1e5, "deformation radius"),
        Parameter("delta", "1", 0.01, 10.0, "depth of the upper layer over that of the lower"),
        Parameter("U", "m s-1", -0.5, 0.5, "mean current of the upper layer over that of the lower"),
        Parameter("rek", "s-1", 0.0, 1e-5, "bottom drag"),
    )
    terms = (
        Term("advection", ("rd", "delta")),
        Term("planetary", ("beta", "rd", "delta")),
        Term("mean flow", ("rd", "delta", "U")),
        Term("drag", ("rd", "delta", "rek")),
        Term("dissipation"),
    )
    step, filter_step = 5400.0, 7200.0

    def __init__(
        self,
        size: int = 64,
        dissipation: Dissipation = "filter",
        length: float = 1e6,
        f0: float = 1e-4,
        reference: tuple[float, ...] = (1.5e-11, 17.5e3, 0.25, 0.05, 5.787e-7),
        speeds: tuple[float, float] = (0.17, 0.04),
        spin_up_days: float = 100.0,
    ) -> None:
        reason = "the initial flow, of six eddies a side, must be resolved by the 2/3 rule"
        super().__init__(points("size", size, 6, 3, reason, even=True), length, "m", dissipation)
        self.f0 = f0
        self.reference = reference
        self.speeds = speeds
        self.spin_up_days = spin_up_days

    def linear(self, p: Tensor) -> Tensor:
        return self.damping(p)

    def tendency(self, p: Tensor) -> Callable[[Tensor], Tensor]:
        return self._tendency(p, MOVING)

    def _tendency(self, p: Tensor, names: Container[str]) -> Callable[[Tensor], Tensor]:
        """The sum of those of the terms ``MOVING`` that are named."""
        g = self.modes.to(p)
        beta, rd, delta, shear, rek = self.split(p)
        c = coupling(
            beta if "planetary" in names else 0 * beta, rd, delta, shear if "mean flow" in names else 0 * shear
        )
        shear, rek = shear if "mean flow" in names else 0 * shear, rek if "drag" in names else 0 * rek
        invert = _inverse(g, c, p.dtype.to_complex())
        # One product each with the coefficients of q and of psi, layer by layer; every sign is in the factors.
        along_x = (-g.derivative(-1) + 0 * g.k2).unsqueeze(-3)
        carried = torch.stack([shear, 0 * shear], -3) * along_x
        sloped = torch.stack([c.gradient[0] + 0 * g.k2, c.gradient[1] + 0 * g.k2], -3) * along_x
        sloped = sloped + torch.stack([0 * rek * g.k2, rek * g.k2], -3)
        if "advection" not in names:
            return lambda qh: torch.addcmul(carried * qh, sloped, invert(qh))
        flow, outflow, mask = _flux_symbols(g, self.dealias)

        def tendency(qh: Tensor) -> Tensor:
            psih = invert(qh)
            velocity = g.inverse(flow * psih.unsqueeze(-3))
            q = g.inverse(qh if mask is None else mask * qh)
            along, across = g.forward(velocity * q.unsqueeze(-3)).unbind(-3)
            rate = torch.addcmul(torch.addcmul(carried * qh, sloped, psih), outflow[0], along)
            return torch.addcmul(rate, outflow[1], across)

        return tendency

    def parts(self, t: Tensor, x: Tensor, p: Tensor) -> dict[str, Callable[[], Tensor]]:
        """``advection`` -J(psi, q); ``planetary`` -beta psi_x; ``mean flow``: all that is proportional to U; ``drag``;
        ``dissipation`` of the small scales."""
        return {term.name: partial(self._sum, (term.name,), t, x, p) for term in self.terms}

    def _sum(self, names: tuple[str, ...], t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        # All named terms share one transform each way and one inversion.
        del t
        g = self.modes.to(x)
        qh = self.to_pv(g.forward(x), p)
        moving = [name for name in names if name in MOVING]
        rate = self._tendency(p, moving)(qh) if moving else torch.zeros_like(qh)
        if "dissipation" in names:
            rate = rate + self.damping(p) * qh
        return g.inverse(self.from_pv(rate, p))

    # What physicists watch.

    def streamfunction(self, x: Tensor, p: Tensor) -> Tensor:
        """psi1 and psi2 in m2/s, ``(..., 2, Y, X)``, of states and parameters ``(..., P)``."""
        g = self.modes.to(x)
        return g.inverse(self._psih(x, p))

    def velocity(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Eastward and northward eddy velocity in m/s (without U), each ``(..., 2, Y, X)``."""
        g = self.modes.to(x)
        psih = self._psih(x, p)
        return g.inverse(-g.derivative(0) * psih), g.inverse(g.derivative(1) * psih)

    def ssh(self, x: Tensor, p: Tensor) -> Tensor:
        """Sea surface height ``f0 psi1 / g`` in m, ``(..., Y, X)``."""
        return self.f0 / GRAVITY * self.streamfunction(x, p)[..., 0, :, :]

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Means over the box and the whole depth: kinetic energy of each layer and available potential energy in m2/s2
        (weighted by ``H_i / H``, so that they add up to the energy), enstrophy of each layer in 1/s2 (so weighted)."""
        g = self.modes.to(x)
        c = coupling(*p.unbind(-1)[:4])
        psih = self._psih(x, p)
        kinetic = g.inner(psih * g.k2, psih) / 2
        step = psih[..., 0, :, :] - psih[..., 1, :, :]
        enstrophy = self._pv(x, p).square().mean((-2, -1)) / 2
        weights = (c.share, 1 - c.share)
        return {
            "kinetic energy 1": weights[0] * kinetic[..., 0],
            "kinetic energy 2": weights[1] * kinetic[..., 1],
            "available potential energy": weights[0] * c.f1 * g.inner(step, step) / 2,
            "enstrophy 1": weights[0] * enstrophy[..., 0],
            "enstrophy 2": weights[1] * enstrophy[..., 1],
        }

    def energy_budget(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Rates of change of the energy of :meth:`diagnostics` in m2/s3, ``(...)`` each; they add up to ``dE/dt``.

        ``shear``: what the mean current gives, ``(H1/H) F1 U mean(psi1 psi2_x)``; ``drag``: ``-(H2/H) rek
        mean(|grad psi2|^2)``; ``dissipation`` of the small scales.
        """
        g = self.modes.to(x)
        _, _, _, shear, rek = p.unbind(-1)
        c = coupling(*p.unbind(-1)[:4])
        qh = self.to_pv(g.forward(x), p)
        psih = self._invert(qh, p)
        upper, lower = psih[..., 0, :, :], psih[..., 1, :, :]
        lost = -g.inner(psih, self.damping(x) * qh)
        return {
            "shear": c.share * c.f1 * shear * g.inner(upper, g.derivative(-1) * lower),
            "drag": -(1 - c.share) * rek * g.inner(g.k2 * lower, lower),
            "dissipation": c.share * lost[..., 0] + (1 - c.share) * lost[..., 1],
        }

    def spectra(self, x: Tensor, p: Tensor) -> Tensor:
        """Kinetic-energy spectrum of each layer (not weighted by depth) per wavenumber, m3/s2, ``(..., 2, bins)``."""
        return self.spectrum(self._psih(x, p))

    def _psih(self, x: Tensor, p: Tensor) -> Tensor:
        g = self.modes.to(x)
        return self._invert(self.to_pv(g.forward(x), p), p)

    def _invert(self, qh: Tensor, p: Tensor) -> Tensor:
        """Coefficients of psi from those of q."""
        return _inverse(self.modes.to(qh), coupling(*self.split(p)[:4]), qh.dtype)(qh)

    def _pv(self, x: Tensor, p: Tensor) -> Tensor:
        """q1 and q2 in 1/s of states."""
        g = self.modes.to(x)
        return g.inverse(self.to_pv(g.forward(x), p))

    # Initial states.

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        box = SpectralGrid((32, 32), self.modes.lengths)
        peak = 6 * 2 * np.pi / box.lengths[0]
        draws = random_field(box, lambda k: k**3 / (k**2 + peak**2) ** 4, n, generator)
        psih = box.resample(box.forward(draws), self.modes.shape)
        g = self.modes
        scale = torch.tensor(self.speeds, dtype=torch.float64) / g.inner(g.k2 * psih, psih).sqrt()[:, None]
        layers = scale[..., None, None] * psih[:, None]
        c = coupling(*torch.tensor(self.reference[:4], dtype=torch.float64))
        step = layers[:, 1] - layers[:, 0]
        stretching = torch.stack([c.f1 * step, -c.f2 * step], 1)
        return g.inverse(stretching - g.k2 * layers)

    def spin_up(self, x: Tensor) -> Tensor:
        return self.settle(x, self.reference, self.spin_up_days * DAY, 7200.0)

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As pyqg does: Adams-Bashforth of order 3 started by orders 1 and 2, the filter after every step.

        Steps are the longest that divide the intervals of ``t`` and are no longer than ``filter_step``.
        """
        # As many together as stay in a core's cache.
        chunk = max(1, CHUNK // math.prod(self.state_shape))
        solve = lambda x, q: torch.cat(  # noqa: E731
            [self._advance_published(*part, t) for part in zip(x.split(chunk), q.split(chunk), strict=True)], 1
        )
        return self._flat(x0, p, solve)

    def _advance_published(self, x: Tensor, p: Tensor, t: Tensor) -> Tensor:
        check_times(t)
        g = self.modes.to(x)
        smooth = g.exponential_filter(self.strength, self.cutoff).to(x.dtype.to_complex())
        plain = TwoLayerQG(self.grid.shape[0], "filter", self.modes.lengths[0])
        tendency = plain.tendency(p)
        qh, states = self.to_pv(g.forward(x), p), [x]
        past: list[Tensor] = []
        for length in t.diff().tolist():
            steps = math.ceil(length / self.filter_step - 1e-9)
            for _ in range(steps):
                past = [tendency(qh), *past[:2]]
                for weight, rate in zip(ADAMS_BASHFORTH[len(past) - 1], past, strict=True):
                    qh = torch.add(qh, rate, alpha=weight * length / steps)
                qh = qh * smooth
            states.append(g.inverse(self.from_pv(qh, p)))
        result = torch.stack(states)
        check_finite(result, t)
        return result


def _inverse(g: SpectralGrid, c: Coupling, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """From the coefficients of (q1, q2) to those of (psi1, psi2), both of zero mean."""
    k2 = g.k2
    scale = g.inverse_laplacian / (k2 + c.f1 + c.f2)
    own = torch.stack([scale * (k2 + c.f2), scale * (k2 + c.f1)], -3).to(dtype)
    other = torch.stack([scale * c.f1, scale * c.f2], -3).to(dtype)
    return lambda qh: torch.addcmul(own * qh, other, qh.flip(-3))


@lru_cache(maxsize=64)
def _flux_symbols(g: SpectralGrid, dealias: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """From psi to (u, v), from (u q, v q) to minus their divergence, ``(2, Y, X // 2 + 1)`` each, and the 2/3 rule's mask;
    the mask is folded into the first two."""
    with torch.inference_mode(False):
        along_y, along_x = torch.broadcast_tensors(g.derivative(0), g.derivative(-1))
        flow, outflow = torch.stack([-along_y, along_x]), torch.stack([-along_x, -along_y])
        if not dealias:
            return flow, outflow, None
        mask = g.dealias.to(flow.dtype)
        return flow * mask, outflow * mask, mask


def growth_rate(p: Tensor, k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """Growth rate in 1/s of the most unstable normal mode ``exp(i (k x + l y))`` of :class:`TwoLayerQG`.

    The eigenvalues of the linearised equations without the small scales' dissipation (Phillips, 1951), bottom drag
    included. Negative where every mode decays.

    Args:
        p: parameters, shape ``(..., 5)``.
        k, l: wavenumbers in 1/m, not both zero, broadcasting against the leading axes of ``p``.

    Returns:
        Shape ``(...)``.
    """
    beta, rd, delta, shear, rek = p.unbind(-1)
    c = coupling(beta, rd, delta, shear)
    k2 = k**2 + l**2
    stretch = torch.stack(
        [
            torch.stack(torch.broadcast_tensors(-k2 - c.f1, c.f1 + 0 * k2), -1),
            torch.stack(torch.broadcast_tensors(c.f2 + 0 * k2, -k2 - c.f2), -1),
        ],
        -2,
    )
    invert = torch.linalg.inv(stretch)
    zero = torch.zeros_like(k2 * shear)
    carried = torch.diag_embed(torch.stack([shear + zero, zero], -1))
    gradient = torch.diag_embed(torch.stack([q + zero for q in c.gradient], -1))
    drag = torch.diag_embed(torch.stack([zero, rek * k2 + zero], -1))
    waves = k[..., None, None] * (carried + gradient @ invert)
    return torch.linalg.eigvals(torch.complex(drag @ invert, -waves)).real.amax(-1)


#: beta, rd, delta, U, rek
_EDDY = (1.5e-11, 15e3, 0.25, 0.025, 5.787e-7)
_JET = (1.0e-11, 15e3, 0.1, 0.025, 7e-8)


def _rows(*pairs: tuple[float, float]) -> list[tuple[float, ...]]:
    """Environments with the given beta and rd."""
    return [(beta, rd, 0.25, 0.05, 5.787e-7) for beta, rd in pairs]


def _unstable(beta: float, rd: float) -> bool:
    """Whether U is at least 1.7 Uc, from where eddies keep themselves up against the drag."""
    return 0.25 / (1 + 0.25) * 0.05 / (beta * rd**2) >= 1.7


#: seen, unseen, range of fresh environments, spin-up, source
_SPLITS = {
    "grid": (
        _rows(*(pair for pair in product((1e-11, 1.5e-11, 2e-11), (15e3, 17.5e3, 20e3)) if _unstable(*pair))),
        _rows((1.25e-11, 16.25e3), (1.25e-11, 18.75e3), (2.25e-11, 14.5e3), (0.8e-11, 21e3)),
        Box((1e-11, 15e3, 0.25, 0.05, 5.787e-7), (1.5e-11, 17.5e3, 0.25, 0.05, 5.787e-7)),
        {"reference": (1.5e-11, 17.5e3, 0.25, 0.05, 5.787e-7), "speeds": (0.17, 0.04), "spin_up_days": 100.0},
        "Ours: pyqg's drag and depths under twice its current, on a grid of beta and deformation radius, without the "
        "corners in which U < 1.7 Uc (eddies there hardly live).",
    ),
    "eddy_jet": (
        [_EDDY],
        [_JET],
        Box((1e-11, 15e3, 0.1, 0.025, 7e-8), (1.5e-11, 15e3, 0.25, 0.025, 5.787e-7)),
        {"reference": _EDDY, "speeds": (0.066, 0.015), "spin_up_days": 200.0},
        "Ross et al. (2023), JAMES 15, e2022MS003258: train on its eddies, adapt to its jets. There 256 points a side "
        "averaged down to 64; here 64 points are solved as they are. Jets start from developed eddies and take years to "
        "form. Fresh environments lie between the two.",
    ),
}


@register("two_layer_qg")
def two_layer_qg(split: Literal["grid", "eddy_jet"] = "grid", size: int = 64, frames: int = 21) -> EnvironmentFamily:
    """Two-layer turbulence, daily frames.

    Args:
        split: ``"grid"`` (6 seen environments on a grid of beta and deformation radius, 4 unseen, two of them further
            out) or ``"eddy_jet"`` (one published environment each).
        size: points a side.
        frames: of each trajectory.
    """
    seen, unseen, box, start, source = choose_split("two_layer_qg", split, _SPLITS)
    return EnvironmentFamily(
        name="two_layer_qg",
        split=split,
        system=TwoLayerQG(size, **start),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * DAY,
        budget=Budget(train=4, test=4, valid=2, adapt=1, adapt_test=4),
        distribution=box,
        source=source,
        arguments={"split": split, "size": size, "frames": frames},
    )

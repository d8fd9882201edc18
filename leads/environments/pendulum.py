"""Pendulum: damped, driven, or free, swinging or turning over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import pi, sqrt
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System, Term
from leads.errors import SettingsError


@dataclass(frozen=True)
class Uniform:
    """Initial states uniform in a box: angle and angular velocity from ``low`` to ``high``."""

    low: tuple[float, float]
    high: tuple[float, float]

    def __call__(self, n: int, generator: np.random.RandomState) -> np.ndarray:
        return generator.uniform(self.low, self.high, size=(n, 2))


@dataclass(frozen=True)
class Ring:
    """Initial states in a random direction, at a distance from rest that is uniform between two radii.

    The direction is that of a point uniform in [-1, 1]^2, as in APHYNITY's code.
    """

    inner: float
    outer: float

    def __call__(self, n: int, generator: np.random.RandomState) -> np.ndarray:
        draws = generator.uniform((-1.0, -1.0, self.inner), (1.0, 1.0, self.outer), size=(n, 3))
        return draws[:, :2] * (draws[:, 2:] / np.linalg.norm(draws[:, :2], axis=1, keepdims=True))


@dataclass(frozen=True)
class Normal:
    """Initial states of independent standard normal entries."""

    def __call__(self, n: int, generator: np.random.RandomState) -> np.ndarray:
        return generator.standard_normal((n, 2))


class Pendulum(System):
    """Angle theta from rest and angular velocity v:

        dtheta/dt = v
        dv/dt = -omega0^2 sin(theta) - alpha v + f0 cos(w_f t)

    State ``(2,)``; the angle is not wrapped. omega0 is sqrt(g / L) for a pendulum of length L, alpha is b / m for a mass
    m with friction b, f0 and w_f are the amplitude (an angular acceleration) and the frequency of the drive. Default
    omega0 = 1, all others zero. Free and undamped, the energy is conserved and the solution known: released at rest from
    theta_0, sin(theta / 2) = k cd(omega0 t | m) with k = sin(theta_0 / 2), m = k^2; pushed from rest with v_0 > 2 omega0,
    theta = 2 am(v_0 t / 2 | (2 omega0 / v_0)^2), with Jacobi's elliptic functions.

    Args:
        initial: draws ``(n, 2)`` initial states: :class:`Uniform`, :class:`Ring` or :class:`Normal` (or a function of
            ``n`` and a generator). Default: angle in [0, 0.25], velocity in [0, 1], as in GEPS.
        published: method, rtol and atol that stand for the published solver in ``simulate_published``.

    Source: Yin et al., APHYNITY (2021), section 4; Koupai et al., GEPS (2024); DLMF 22.19(i) for the exact solutions.
    """

    channels = (Channel("theta", "rad", "angle"), Channel("v", "rad s-1", "angular velocity"))
    parameters = (
        Parameter("alpha", "s-1", 0.0, 5.0, "damping"),
        Parameter("omega0", "rad s-1", 0.0, 10.0, "natural frequency"),
        Parameter("f0", "rad s-2", 0.0, 5.0, "amplitude of the drive"),
        Parameter("w_f", "rad s-1", 0.0, 10.0, "frequency of the drive"),
    )
    terms = (Term("oscillation", ("omega0",)), Term("damping", ("alpha",)), Term("drive", ("f0", "w_f")))
    rtol, atol = 1e-13, 1e-14

    def __init__(
        self,
        initial: Callable[[int, np.random.RandomState], np.ndarray] | None = None,
        published: tuple[Literal["dopri5", "dop853"], float, float] = ("dopri5", 1e-3, 1e-6),
    ) -> None:
        if published[0] not in ("dopri5", "dop853"):
            raise SettingsError(f"The published method of a pendulum is 'dopri5' or 'dop853', got {published[0]!r}.")
        self.initial = initial or Uniform((0.0, 0.0), (0.25, 1.0))
        self.published = published

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        theta, v = x.unbind(-1)
        alpha, omega0, f0, w_f = p.unbind(-1)
        drive = f0 * torch.cos(w_f * t.to(x.dtype))
        return torch.stack([v, drive - omega0 * omega0 * theta.sin() - alpha * v], -1)

    def parts(self, t: Tensor, x: Tensor, p: Tensor) -> dict[str, Callable[[], Tensor]]:
        """``oscillation`` (with dtheta/dt = v), ``damping`` -alpha v, ``drive`` f0 cos(w_f t)."""
        theta, v = x.unbind(-1)
        alpha, omega0, f0, w_f = p.unbind(-1)
        force = lambda a: torch.stack([torch.zeros_like(v), a.expand_as(v)], -1)  # noqa: E731
        return {
            "oscillation": lambda: torch.stack([v, -omega0 * omega0 * theta.sin()], -1),
            "damping": lambda: force(-alpha * v),
            "drive": lambda: force(f0 * torch.cos(w_f * t.to(x.dtype))),
        }

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(self.initial(n, generator))

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``energy`` per moment of inertia, v^2 / 2 + omega0^2 (1 - cos theta): conserved for alpha = f0 = 0."""
        theta, v = x.unbind(-1)
        omega0 = p[..., 1]
        return {"energy": 0.5 * v * v + omega0 * omega0 * (1 - theta.cos())}


def _tensor(rows: Any) -> Tensor:
    return torch.tensor(list(rows), dtype=torch.float64)


def _frames(n: int, dt: float) -> Tensor:
    return torch.arange(n, dtype=torch.float64) * dt


def _geps() -> dict[str, Any]:
    return {
        "system": Pendulum(published=("dopri5", 1e-10, 1e-6)),
        "seen": _tensor([(0.2, 0.5, 0, 0), (0.5, 0.5, 0, 0), (0, 0.7, 0.2, 0.75), (0, 0.5, 0.1, 1)]),
        "unseen": _tensor([(0.5, 1, 0.2, 0.3), (0.5, 0.75, 0.1, 0.7), (0.1, 1, 0.15, 1), (0.1, 0.5, 0.05, 0.5)]),
        "times": _frames(50, 0.5),
        "test_times": _frames(100, 0.5),
        "budget": Budget(train=8, test=32),
        "distribution": Box((0.0, 0.5, 0.0, 0.0), (0.5, 0.7, 0.2, 1.0)),
        "shared_initial_states": False,
        "source": "Koupai et al. (2024), GEPS: public code. Initial states differ between environments.",
    }


def _aphynity() -> dict[str, Any]:
    return {
        "system": Pendulum(Ring(1.3, 2.3), published=("dop853", 1e-10, 1e-6)),
        "seen": _tensor([(0.2, 2 * pi / 6, 0, 0)]),
        "unseen": _tensor((a, 2 * pi / period, 0, 0) for a, period in product((0.1, 0.3), (5, 7))),
        "times": _frames(40, 0.5),
        "budget": Budget(train=25, test=25, valid=25),
        "distribution": Box((0.1, 2 * pi / 7, 0.0, 0.0), (0.3, 2 * pi / 5, 0.0, 0.0)),
        "source": "Yin et al. (2021), APHYNITY: paper (period 6; the public code had 12 before December 2022). It has a "
        "single environment; unseen and fresh ones are ours.",
    }


def _coda() -> dict[str, Any]:
    rows = lambda friction, mass: _tensor((b / m, sqrt(9.8 / 10), 0, 0) for b, m in product(friction, mass))  # noqa: E731
    return {
        "system": Pendulum(Normal()),
        "seen": rows((0.3, 0.4, 0.5), (1, 2, 3)),
        "unseen": rows((0.35, 0.55), (1.5, 3.5)),
        "times": _frames(20, 0.2),
        "budget": Budget(train=8, test=32),
        "distribution": Box((0.1, sqrt(9.8 / 10), 0.0, 0.0), (0.5, sqrt(9.8 / 10), 0.0, 0.0)),
        "source": "Kirchmeyer et al. (2022), CoDA: first public release, alpha = b / m and omega0^2 = g / L with "
        "b in 0.3, 0.4, 0.5, m in 1, 2, 3, g = 9.8, L = 10. Test budget and unseen environments are ours.",
    }


def _ncf() -> dict[str, Any]:
    rows = lambda gravity: _tensor((0, sqrt(g), 0, 0) for g in gravity)  # noqa: E731
    return {
        "system": Pendulum(Uniform((-pi / 3, -1.0), (pi / 3, 1.0))),
        "seen": rows(np.linspace(2, 24, 25)),
        "unseen": rows((10.25, 14.75)),
        "times": torch.linspace(0, 10, 40, dtype=torch.float64),
        "budget": Budget(train=12, test=32),
        "distribution": Box((0.0, sqrt(2), 0.0, 0.0), (0.0, sqrt(24), 0.0, 0.0)),
        "shared_initial_states": False,
        "source": "Nzoyem et al. (2025), Neural Context Flows: public code, omega0^2 = g / L with L = 1. Initial states "
        "differ between environments, but are not the published draw (one stream for all).",
    }


def _metaphysica(initial: Uniform = Uniform((0.0, -1.0), (pi / 2, 0.0))) -> dict[str, Any]:
    inside, outside = (
        Box((0.2, 1.0, 0.0, 0.0), (0.4, 2.0, 0.0, 0.0)),
        Box((0.4, 2.0, 0.0, 0.0), (0.6, 3.0, 0.0, 0.0)),
    )
    times = torch.linspace(0, 10, 100, dtype=torch.float64)
    return {
        "system": Pendulum(initial, published=("dopri5", 1.5e-8, 1.5e-8)),
        "seen": inside.inside(800, np.random.RandomState(0)),
        "unseen": outside.inside(200, np.random.RandomState(1)),
        "times": times[:33],
        "test_times": times,
        "budget": Budget(train=1, test=1, valid=1, adapt_test=1),
        "distribution": inside,
        "shared_initial_states": False,
        "source": "Mouli et al. (2024), MetaPhysiCa: public code's ranges; environments drawn from them with fixed seeds "
        "of ours. Training data, too, end with the observed window (33 of 100 frames).",
    }


_SPLITS: dict[str, Callable[[], dict[str, Any]]] = {
    "geps": _geps,
    "aphynity": _aphynity,
    "coda": _coda,
    "ncf": _ncf,
    "metaphysica": _metaphysica,
    "metaphysica_ood": lambda: _metaphysica(Uniform((pi - 0.1, -1.0), (pi - 0.05, 0.0))),
}


@register("pendulum")
def pendulum(
    split: Literal["geps", "aphynity", "coda", "ncf", "metaphysica", "metaphysica_ood"] = "geps",
) -> EnvironmentFamily:
    """Pendulums.

    Args:
        split: ``"geps"`` (4 seen, 4 unseen environments in damping, frequency and drive; 50 frames, dt = 0.5, tested to
            twice that time), ``"aphynity"`` (one damped pendulum; 40 frames, dt = 0.5), ``"coda"`` (9 seen in friction
            and mass; 20 frames, dt = 0.2), ``"ncf"`` (25 seen values of gravity without damping, 2 unseen; 40 frames
            with both ends of [0, 10]), ``"metaphysica"`` (800 seen in damping and frequency, 200 beyond their range,
            one trajectory each; the first 33 of 100 frames are observed) or ``"metaphysica_ood"`` (the same
            environments, all released near the upright position).
    """
    return EnvironmentFamily(
        name="pendulum", split=split, arguments={"split": split}, **choose_split("pendulum", split, _SPLITS)()
    )

"""Epidemics in compartments: SIR and SEIR."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System
from leads.errors import SettingsError

_BETA = Parameter("beta", "day-1", 0.001, 20.0, "infections by one infectious individual among susceptibles")
_GAMMA = Parameter("gamma", "day-1", 0.0, 5.0, "rate of recovery")
_SUSCEPTIBLE = Channel("s", "1", "susceptible individuals")
_INFECTIOUS = Channel("i", "1", "infectious individuals")
_RECOVERED = Channel("r", "1", "recovered individuals")


class _Compartments(System):
    """What SIR and SEIR share: the susceptible first, the infectious and the recovered last."""

    rtol, atol = 1e-12, 1e-15

    def __init__(
        self,
        low: tuple[float, ...],
        high: tuple[float, ...],
        fractions: bool,
        published_tolerance: float | None,
    ) -> None:
        size = len(self.channels)
        if len(low) != size or len(high) != size or min(low) < 0 or any(a > b for a, b in zip(low, high, strict=True)):
            raise SettingsError(
                f"{type(self).__name__} needs {size} lower bounds >= 0 and as many upper bounds above them, got "
                f"low={low}, high={high}."
            )
        self.low, self.high = tuple(map(float, low)), tuple(map(float, high))
        self.fractions = fractions
        self.published_tolerance = published_tolerance
        if published_tolerance is not None:
            self.published = ("dopri5", published_tolerance, published_tolerance)

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """With RK45 at the published tolerance; as :meth:`simulate` where there is none."""
        return super().simulate_published(x0, p, t) if self.published_tolerance else self.simulate(x0, p, t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        x = torch.from_numpy(generator.uniform(self.low, self.high, size=(n, len(self.low))))
        return x / x.sum(-1, keepdim=True) if self.fractions else x

    def invariant(self, x: Tensor, p: Tensor) -> Tensor:
        """The total population."""
        del p
        return x.sum(-1)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``total_population``; ``reproduction_number`` beta s / (gamma N); ``final_size_integral``, the second conserved
        quantity: all that are not recovered, less (gamma / beta) N log s."""
        beta, gamma = p[..., 0], p[..., -1]
        total, s = x.sum(-1), x[..., 0]
        return {
            "total_population": total,
            "reproduction_number": beta * s / (gamma * total),
            "final_size_integral": x[..., :-1].sum(-1) - gamma / beta * total * s.log(),
        }


class SIR(_Compartments):
    """Susceptible s, infectious i and recovered r, N = s + i + r in all:

        ds/dt = -beta s i / N
        di/dt = beta s i / N - gamma i
        dr/dt = gamma i

    State ``(3,)``, counts or fractions of a population (the equations do not tell one from the other). Defaults
    beta = 0.4 and gamma = 0.15 a day; the basic reproduction number is beta / gamma. By default initial states are
    fractions: uniform in s (0.9, 1), i (0.001, 0.02), r (0, 0.1), divided by their sum (ours).

    Conserved: N, and s + i - (gamma / beta) N log s, from which the final size of the epidemic follows:
    log(s_end / s_0) = -(beta / gamma) (N - r_0 - s_end) / N.

    Args:
        low, high: bounds of the uniform initial states.
        fractions: divide initial states by their sum.
        published_tolerance: rtol and atol of RK45 in ``simulate_published`` (it stands for SciPy's odeint); ``None``
            where nothing is published, and it is ``simulate``.

    Source: Kermack and McKendrick, Proceedings of the Royal Society A 115 (1927) 700.
    """

    channels = (_SUSCEPTIBLE, _INFECTIOUS, _RECOVERED)
    parameters = (_BETA, _GAMMA)

    def __init__(
        self,
        low: tuple[float, ...] = (0.9, 0.001, 0.0),
        high: tuple[float, ...] = (1.0, 0.02, 0.1),
        fractions: bool = True,
        published_tolerance: float | None = None,
    ) -> None:
        super().__init__(low, high, fractions, published_tolerance)

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        s, i, r = x.unbind(-1)
        beta, gamma = p.unbind(-1)
        infections, recoveries = beta * s * i / (s + i + r), gamma * i
        return torch.stack([-infections, infections - recoveries, recoveries], -1)


class SEIR(_Compartments):
    """SIR with the exposed e, who are infected but not yet infectious, N = s + e + i + r in all:

        ds/dt = -beta s i / N
        de/dt = beta s i / N - sigma e
        di/dt = sigma e - gamma i
        dr/dt = gamma i

    State ``(4,)``, counts or fractions of a population. Defaults beta = 0.6, sigma = 0.2 and gamma = 0.15 a day; 1/sigma
    is the latent time. By default initial states are fractions: uniform in s (0.9, 1), e (0.001, 0.02), i (0.001, 0.02),
    r (0, 0.1), divided by their sum (ours). Conserved: N, and s + e + i - (gamma / beta) N log s, hence the final size of
    the epidemic is that of SIR. Arguments as for :class:`SIR`.
    Source: Hethcote, SIAM Review 42 (2000) 599 (without births and deaths).
    """

    channels = (_SUSCEPTIBLE, Channel("e", "1", "exposed individuals"), _INFECTIOUS, _RECOVERED)
    parameters = (_BETA, Parameter("sigma", "day-1", 0.0, 5.0, "rate of becoming infectious"), _GAMMA)

    def __init__(
        self,
        low: tuple[float, ...] = (0.9, 0.001, 0.001, 0.0),
        high: tuple[float, ...] = (1.0, 0.02, 0.02, 0.1),
        fractions: bool = True,
        published_tolerance: float | None = None,
    ) -> None:
        super().__init__(low, high, fractions, published_tolerance)

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        s, e, i, r = x.unbind(-1)
        beta, sigma, gamma = p.unbind(-1)
        infections, onsets, recoveries = beta * s * i / (s + e + i + r), sigma * e, gamma * i
        return torch.stack([-infections, infections - onsets, onsets - recoveries, recoveries], -1)


def _frames(n: int, dt: float) -> Tensor:
    return torch.arange(n, dtype=torch.float64) * dt


def _sir_ours() -> dict[str, Any]:
    return {
        "system": SIR(),
        "seen": torch.tensor(list(product((0.3, 0.4, 0.5), (0.1, 0.15, 0.2))), dtype=torch.float64),
        "unseen": torch.tensor(list(product((0.35, 0.55), (0.125, 0.225))), dtype=torch.float64),
        "times": _frames(30, 2.0),
        "test_times": _frames(60, 2.0),
        "budget": Budget(train=4, test=32),
        "distribution": Box((0.3, 0.1), (0.5, 0.2)),
        "source": "Ours: basic reproduction numbers from 1.5 to 5.",
    }


def _sir_metaphysica(susceptible: tuple[float, float] = (9.0, 10.0)) -> dict[str, Any]:
    inside, times = Box((4.0, 0.4), (8.0, 0.8)), torch.linspace(0, 10, 100, dtype=torch.float64)
    return {
        "system": SIR((susceptible[0], 1.0, 0.0), (susceptible[1], 5.0, 0.0), False, published_tolerance=1.5e-8),
        "seen": inside.inside(800, np.random.RandomState(0)),
        "unseen": Box((8.0, 0.8), (12.0, 1.2)).inside(200, np.random.RandomState(1)),
        "times": times[:20],
        "test_times": times,
        "budget": Budget(train=1, test=1, valid=1, adapt_test=1),
        "distribution": inside,
        "shared_initial_states": False,
        "source": "Mouli et al. (2024), MetaPhysiCa: public code's ranges (its time has no unit; states are not scaled to a "
        "maximum of 10 here); environments drawn from them with fixed seeds of ours. Training data, too, end with the "
        "observed window (20 of 100 frames).",
    }


_SIR_SPLITS: dict[str, Callable[[], dict[str, Any]]] = {
    "ours": _sir_ours,
    "metaphysica": _sir_metaphysica,
    "metaphysica_ood": lambda: _sir_metaphysica((90.0, 100.0)),
}


@register("sir")
def sir(split: Literal["ours", "metaphysica", "metaphysica_ood"] = "ours") -> EnvironmentFamily:
    """SIR epidemics.

    Args:
        split: ``"ours"`` (9 seen, 4 unseen environments; fractions; 30 frames, dt = 2 days, tested to twice that time),
            ``"metaphysica"`` (800 seen environments, 200 beyond their range, one trajectory each; the first 20 of 100
            frames on [0, 10] are observed; counts) or ``"metaphysica_ood"`` (the same environments, all with ten times
            as many susceptible individuals at first).
    """
    return EnvironmentFamily(
        name="sir", split=split, arguments={"split": split}, **choose_split("sir", split, _SIR_SPLITS)()
    )


def _seir_ours() -> dict[str, Any]:
    rows = lambda beta, sigma: torch.tensor([(b, s, 0.15) for b, s in product(beta, sigma)], dtype=torch.float64)  # noqa: E731
    return {
        "system": SEIR(),
        "seen": rows((0.4, 0.6, 0.8), (0.15, 0.2, 0.25)),
        "unseen": rows((0.5, 0.9), (0.175, 0.3)),
        "times": _frames(30, 2.0),
        "test_times": _frames(60, 2.0),
        "budget": Budget(train=4, test=32),
        "distribution": Box((0.4, 0.15, 0.15), (0.8, 0.25, 0.15)),
        "source": "Ours: basic reproduction numbers from 2.7 to 6, latent times from 3.3 to 6.7 days.",
    }


@register("seir")
def seir(split: Literal["ours"] = "ours") -> EnvironmentFamily:
    """SEIR epidemics on 30 frames, dt = 2 days, tested to twice that time.

    Args:
        split: ``"ours"``: 9 seen environments in beta and sigma; 4 unseen, one half inside the range of each parameter and
            one half beyond.
    """
    return EnvironmentFamily(
        name="seir", split=split, arguments={"split": split}, **choose_split("seir", split, {"ours": _seir_ours})()
    )

"""Lotka-Volterra: a prey and its predator."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System, Term
from leads.errors import SettingsError


class LotkaVolterra(System):
    """Prey x and predator y:

        dx/dt = alpha x - beta x y
        dy/dt = delta x y - gamma y

    State ``(2,)``; both positive. Conserved along solutions: ``V = delta x - gamma log x + beta y - alpha log y``.

    Args:
        low, high: bounds of the uniform initial states; [1, 2]^2 by default.
        published_tolerance: rtol and atol of RK45 in ``simulate_published`` (it stands for SciPy's odeint); ``None``
            for SciPy's defaults.

    Source: Lotka (1925), Volterra (1926); set-up of Yin et al., LEADS (2021) and Kirchmeyer et al., CoDA (2022).
    """

    channels = (Channel("prey", "1", "prey density"), Channel("predator", "1", "predator density"))
    parameters = (
        Parameter("alpha", "1/time", 1e-5, 5.0, "prey growth rate"),
        Parameter("beta", "1/time", 1e-5, 5.0, "predation rate"),
        Parameter("gamma", "1/time", 1e-5, 5.0, "predator death rate"),
        Parameter("delta", "1/time", 1e-5, 5.0, "predator growth per prey"),
    )
    terms = (
        Term("birth", ("alpha",)),
        Term("predation", ("beta",)),
        Term("death", ("gamma",)),
        Term("growth", ("delta",)),
    )
    rtol, atol = 1e-12, 1e-14

    def __init__(
        self,
        low: tuple[float, float] = (1.0, 1.0),
        high: tuple[float, float] = (2.0, 2.0),
        published_tolerance: float | None = None,
    ) -> None:
        if len(low) != 2 or len(high) != 2 or min(low) <= 0 or low[0] > high[0] or low[1] > high[1]:
            raise SettingsError(f"Two populations start positive, with low <= high; got low={low}, high={high}.")
        self.low, self.high = low, high
        if published_tolerance is not None:
            self.published = ("dopri5", published_tolerance, published_tolerance)

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        prey, predator = x.unbind(-1)
        alpha, beta, gamma, delta = p.unbind(-1)
        meeting = prey * predator
        return torch.stack([alpha * prey - beta * meeting, delta * meeting - gamma * predator], -1)

    def parts(self, t: Tensor, x: Tensor, p: Tensor) -> dict[str, Callable[[], Tensor]]:
        """``birth`` alpha x and ``predation`` -beta x y of the prey, ``death`` -gamma y and ``growth`` delta x y."""
        del t
        prey, predator = x.unbind(-1)
        alpha, beta, gamma, delta = p.unbind(-1)
        none = torch.zeros_like(prey)
        return {
            "birth": lambda: torch.stack([alpha * prey, none], -1),
            "predation": lambda: torch.stack([-beta * prey * predator, none], -1),
            "death": lambda: torch.stack([none, -gamma * predator], -1),
            "growth": lambda: torch.stack([none, delta * prey * predator], -1),
        }

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform(self.low, self.high, size=(n, 2)))

    def invariant(self, x: Tensor, p: Tensor) -> Tensor:
        prey, predator = x.unbind(-1)
        alpha, beta, gamma, delta = p.unbind(-1)
        return delta * prey - gamma * prey.log() + beta * predator - alpha * predator.log()


def _grid(values: tuple[float, ...]) -> list[tuple[float, ...]]:
    """alpha = gamma = 0.5 and (beta, delta) on the square of ``values``."""
    return [(0.5, b, 0.5, d) for b, d in product(values, values)]


def _split(
    seen: list[tuple[float, ...]],
    unseen: list[tuple[float, ...]],
    budget: Budget,
    box: Box,
    source: str,
    **changed: Any,
) -> dict[str, Any]:
    """The fields of a family on 20 frames, dt = 0.5 (the published horizon T = 10 is not itself a frame)."""
    fields = {
        "system": LotkaVolterra(),
        "seen": torch.tensor(seen, dtype=torch.float64),
        "unseen": torch.tensor(unseen, dtype=torch.float64),
        "times": _frames(20),
        "budget": budget,
        "distribution": box,
        "source": source,
    }
    return {**fields, **changed}


def _frames(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float64) * 0.5


_LEADS_RATES = ((0.5, 0.5), (0.25, 0.5), (0.75, 0.5), (1, 0.5), (0.5, 0.25), (0.5, 0.75), (0.5, 1), (0.25, 0.25), (0.75, 0.75), (1, 1))  # fmt: skip
_CODA_SEEN, _CODA_UNSEEN = _grid((0.5, 0.75, 1.0)), _grid((0.625, 1.125))
_CODA_BOX = Box((0.5, 0.5, 0.5, 0.5), (0.5, 1.0, 0.5, 1.0))


def _coda() -> dict[str, Any]:
    source = "Kirchmeyer et al. (2022), CoDA: public code."
    return _split(_CODA_SEEN, _CODA_UNSEEN, Budget(train=4, test=32), _CODA_BOX, source)


def _leads() -> dict[str, Any]:
    return _split(
        [(a, 0.5, g, 0.5) for a, g in _LEADS_RATES],
        [(a, 0.5, g, 0.5) for a, g in product((0.375, 0.875), (0.375, 0.875))],
        Budget(train=1, test=32),
        Box((0.25, 0.5, 0.25, 0.5), (1.0, 0.5, 1.0, 0.5)),
        "Yin et al. (2021), LEADS: public code. It adapts to no new environment; the unseen ones here are ours.",
    )


def _geps() -> dict[str, Any]:
    return _split(
        [row for row in _CODA_SEEN if row != (0.5, 1.0, 0.5, 1.0)],
        _grid((0.3, 1.125)),
        Budget(train=4, test=32),
        _CODA_BOX,
        "Koupai et al. (2024), GEPS: public code's history (8 environments); tests run to twice the training horizon.",
        test_times=_frames(40),
    )


def _fnsda() -> dict[str, Any]:
    return _split(
        _CODA_SEEN,
        _CODA_UNSEEN,
        Budget(train=100, test=50, adapt_test=50),
        _CODA_BOX,
        "Qin et al. (2025), FNSDA: public code; environments as CoDA's.",
        times=_frames(40),
    )


def _coda_shift() -> dict[str, Any]:
    source = (
        "Kirchmeyer et al. (2022), CoDA: public code's option of shifted initial states, U[0, 1]^2 + 2, in all sets."
    )
    system = LotkaVolterra((2.0, 2.0), (3.0, 3.0))
    return _split(_CODA_SEEN, _CODA_UNSEEN, Budget(train=4, test=32), _CODA_BOX, source, system=system)


def _normal(n: int) -> dict[str, Any]:
    draws = np.random.RandomState(0).normal(0.75, 0.15, size=(n, 2)).tolist()
    return _split(
        [(0.5, b, 0.5, d) for b, d in draws],
        _CODA_UNSEEN,
        Budget(train=4, test=32),
        Box((0.5, 0.45, 0.5, 0.45), (0.5, 1.05, 0.5, 1.05)),
        f"Kirchmeyer et al. (2022), CoDA: first public release, lotka_{n}: beta and delta from N(0.75, 0.15). The draw (seed "
        "0), the unseen environments (CoDA's later ones), the budget (likewise) and the range of fresh ones, two standard "
        "deviations, are ours.",
    )


def _circles() -> dict[str, Any]:
    turns = np.arange(8) * (np.pi / 4)
    around = [(x + 0.25 * np.cos(a), 0.75 + 0.25 * np.sin(a)) for x in (0.75, 1.25) for a in turns]
    # Where the circles touch stands once.
    seen = [*around[:8], *(around[8 + i] for i in range(8) if i != 4), (0.75, 0.75), (1.25, 0.75)]
    return _split(
        [(0.5, float(b), 0.5, float(d)) for b, d in seen],
        _CODA_UNSEEN,
        Budget(train=4, test=32),
        Box((0.5, 0.5, 0.5, 0.5), (0.5, 1.5, 0.5, 1.0)),
        "Kirchmeyer et al. (2022), CoDA: first public release, lotka_17: (beta, delta) on two circles of radius 0.25 around "
        "(0.75, 0.75) and (1.25, 0.75). Ours: which 17 points (eight equally far apart on each circle, the common one once, "
        "and both centres), the unseen environments and the budget (CoDA's later ones).",
    )


def _ncf() -> dict[str, Any]:
    source = "Nzoyem et al. (2025), Neural Context Flows: public code; environments and budget as CoDA's."
    return _split(_CODA_SEEN, _CODA_UNSEEN, Budget(train=4, test=32), _CODA_BOX, source)


def _ncf_grid() -> dict[str, Any]:
    return _split(
        _CODA_SEEN,
        _grid(tuple(np.linspace(0.25, 1.25, 51).tolist())),
        Budget(train=4, test=32, adapt_test=1),
        _CODA_BOX,
        "Nzoyem et al. (2025), Neural Context Flows: public code, stress test on a grid over [0.25, 1.25]^2; its 51 points a "
        "side are ours. It scores the trajectory that it adapts to; here one more trajectory is forecast in each unseen "
        "environment.",
    )


def _metaphysica(prey: tuple[float, float] = (1000.0, 2000.0)) -> dict[str, Any]:
    inside = Box((1.2, 0.06, 0.48, 0.00048), (2.4, 0.12, 0.96, 0.00096))
    outside = Box((2.4, 0.12, 0.96, 0.00096), (3.6, 0.18, 1.44, 0.00144))
    times = torch.linspace(0, 10, 100, dtype=torch.float64)
    return {
        "system": LotkaVolterra((prey[0], 10.0), (prey[1], 20.0), published_tolerance=1.5e-8),
        "seen": inside.inside(800, np.random.RandomState(0)),
        "unseen": outside.inside(200, np.random.RandomState(1)),
        "times": times[:33],
        "test_times": times,
        "budget": Budget(train=1, test=1, valid=1, adapt_test=1),
        "distribution": inside,
        "shared_initial_states": False,
        "source": "Mouli et al. (2024), MetaPhysiCa: public code's ranges (states are not scaled to a maximum of 10 here); "
        "environments drawn from them with fixed seeds of ours. Training data, too, end with the observed window (33 of "
        "100 frames).",
    }


_SPLITS: dict[str, Callable[[], dict[str, Any]]] = {
    "coda": _coda,
    "coda_shift": _coda_shift,
    "leads": _leads,
    "geps": _geps,
    "fnsda": _fnsda,
    "ncf": _ncf,
    "ncf_grid": _ncf_grid,
    "lotka_50": lambda: _normal(50),
    "lotka_100": lambda: _normal(100),
    "lotka_17": _circles,
    "metaphysica": _metaphysica,
    "metaphysica_ood": lambda: _metaphysica((100.0, 200.0)),
}


@register("lotka_volterra")
def lotka_volterra(
    split: Literal[
        "coda",
        "coda_shift",
        "leads",
        "geps",
        "fnsda",
        "ncf",
        "ncf_grid",
        "lotka_50",
        "lotka_100",
        "lotka_17",
        "metaphysica",
        "metaphysica_ood",
    ] = "coda",
) -> EnvironmentFamily:
    """Lotka-Volterra, frames 0.5 apart.

    Args:
        split: ``"coda"`` (9 seen, 4 unseen environments in beta and delta; 20 frames), ``"coda_shift"`` (the same, initial
            states in [2, 3]^2), ``"leads"`` (10 seen in alpha and gamma), ``"geps"`` (8 seen, 4 unseen further out, test horizon twice as long), ``"fnsda"`` (CoDA's on 40
            frames, 100 training trajectories), ``"ncf"`` (as CoDA), ``"ncf_grid"`` (CoDA's seen
            ones, unseen a grid of 51 x 51 over [0.25, 1.25]^2), ``"lotka_50"`` and ``"lotka_100"`` (as many seen, normal in
            beta and delta), ``"lotka_17"`` (17 seen on two circles), ``"metaphysica"`` (800 seen in all four parameters, 200 beyond their range, one trajectory
            each; the first 33 of 100 frames on [0, 10] are observed; counts of individuals) or ``"metaphysica_ood"``
            (the same environments, all starting with a tenth of the prey).
    """
    return EnvironmentFamily(
        name="lotka_volterra",
        split=split,
        arguments={"split": split},
        **choose_split("lotka_volterra", split, _SPLITS)(),
    )

"""Korteweg-de Vries: waves in shallow water and plasmas, and the solitons that pass through each other."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.arguments import points
from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.spectral_scalar import SpectralScalar
from leads.environments.system import Parameter
from leads.errors import UnknownNameError
from leads.numerics.spectral import SpectralGrid
from leads.registry import nearest

INITIAL = ("solitons", "cosine")


class KortewegDeVries(SpectralScalar):
    """Elevation u of a long wave on a periodic line:

        u_t + alpha u u_x + delta u_xxx = 0

    On an endless line the equation is integrable: a soliton
    ``u = A sech^2(sqrt(alpha A / (12 delta)) (x - c t))``, ``c = alpha A / 3``, travels unchanged and leaves a collision as it
    was but for a shift; any other hump breaks up into solitons.

    Initial states: ``"solitons"``: two solitons of alpha = 6, delta = 1 with speeds c (heights c / 2) uniform in
    [0.2, 1] and peaks uniform on the line, summed over its periodic images; under other parameters they shed waves or
    split. ``"cosine"``: ``cos(2 pi x / length + phase)``, phase uniform in [0, 2 pi); Zabusky and Kruskal's phase is 0.

    The mean of u (``mass``), of u^2 / 2 (``momentum``) and of ``delta u_x^2 / 2 - alpha u^3 / 6`` (``hamiltonian``) are
    conserved, also by the discretisation in space. The mass, conserved by every step up to rounding, is the
    invariant; all three stand in the diagnostics.

    Error of ``simulate`` (step doubling) in the environments of the families: ``"solitons"`` 2e-7 at t = 20 in states of
    size 0.8; ``"zabusky_kruskal"`` 2e-7 in states of size 2.7; space adds less than 2e-9. A soliton of height A changes
    over the time ``delta^(1/2) (alpha A / 3)^(-3/2)``; steps of a hundredth of it are as accurate.

    Source: Zabusky and Kruskal (1965), who write delta^2 for delta here; exact solutions of Hirota (1971).

    Args:
        size: points.
        length: of the line.
        initial: ``"solitons"`` or ``"cosine"``.
        max_step, fine: see :class:`SpectralScalar`; the default step suits the solitons, a cosine on a line of length 2
            needs 0.00025. ``fine`` is 1.5 times ``size`` by default.

    Raises:
        UnknownNameError: unknown initial states.
        SettingsError: too few points for them.
    """

    parameters = (
        Parameter("alpha", "1", 0.0, 20.0, "coefficient of the advection"),
        Parameter("delta", "length3/time", 0.0, 5.0, "dispersion"),
    )

    def __init__(
        self,
        size: int = 128,
        length: float = 32.0,
        initial: Literal["solitons", "cosine"] = "solitons",
        max_step: float = 0.005,
        fine: int | None = None,
    ) -> None:
        if initial not in INITIAL:
            raise UnknownNameError(f"No initial states are named {initial!r}. {nearest(str(initial), INITIAL)}")
        if initial == "solitons":
            # There the spectrum of the highest soliton, pi k / sinh(pi k), has fallen to 1.5e-3.
            highest, reason = 3 * length / (2 * math.pi), f"the highest initial soliton on a length of {length:g}"
        else:
            highest, reason = 8, "the eight solitons that a cosine breaks up into"
        size = points("size", size, highest, 3, f"{reason} must be resolved by the 2/3 rule")
        super().__init__(size, length, max_step, 3 * size // 2 if fine is None else fine)
        self.initial = initial

    def advection(self, p: Tensor) -> Tensor:
        return p[..., 0]

    def symbol(self, g: SpectralGrid, p: Tensor) -> Tensor:
        return -p[..., 1:2] * g.derivative(-1, 3)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        length = self.fourier.lengths[0]
        x = self.fourier.coordinates(0).numpy()
        if self.initial == "cosine":
            phase = generator.uniform(0, 2 * math.pi, size=(n, 1))
            return torch.from_numpy(np.cos(2 * math.pi * x / length + phase))[:, None]
        # One row of numbers a state, so that state k is the same however many are drawn.
        draws = generator.uniform((0.2, 0.2, 0.0, 0.0), (1.0, 1.0, length, length), size=(n, 4))
        speed, place = draws[:, :2, None, None], draws[:, 2:, None, None]
        distance = x - place - length * np.arange(-3, 4)[:, None]
        humps = speed / 2 / np.cosh(np.sqrt(speed) / 2 * distance) ** 2
        return torch.from_numpy(humps.sum((1, 2)))[:, None]

    def invariant(self, x: Tensor, p: Tensor) -> Tensor:
        """The mean of u."""
        del p
        return x[..., 0, :].mean(-1)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``mass``, ``momentum`` and ``hamiltonian``, the conserved means."""
        g = self.fourier.to(x)
        alpha, delta = p.unbind(-1)
        xh = g.forward(x[..., 0, :])
        slope = 0.5 * delta * g.inner(xh, g.k2 * xh)
        cubic = alpha / 6 * g.inverse(xh * g.dealias).pow(3).mean(-1)
        return {**super().diagnostics(x, p), "hamiltonian": slope - cubic}


_PERIOD = 1 / math.pi

#: system, seen, unseen, frames, budget, range of fresh environments, source
_SPLITS = {
    "solitons": (
        {"size": 128, "length": 32.0, "initial": "solitons", "max_step": 0.005},
        tuple(product((4.0, 5.0, 6.0), (0.8, 1.0, 1.2))),
        tuple(product((4.5, 7.0), (0.9, 1.4))),
        (41, 0.5),
        Budget(train=8, test=32),
        Box((4.0, 0.8), (6.0, 1.2)),
        "Equation: Korteweg and de Vries (1895). Environments, initial states and budget are ours.",
    ),
    "zabusky_kruskal": (
        {"size": 256, "length": 2.0, "initial": "cosine", "max_step": 0.00025},
        tuple((1.0, d**2) for d in (0.020, 0.022, 0.024)),
        tuple((1.0, d**2) for d in (0.021, 0.026)),
        (37, _PERIOD / 10),
        Budget(train=1, test=8, valid=2, adapt_test=8),
        Box((1.0, 0.020**2), (1.0, 0.024**2)),
        "Zabusky and Kruskal (1965): delta = 0.022 (the coefficient is its square), u = cos(pi x) on a line of length 2, "
        "up to 3.6 breaking times 1 / pi. The other values of delta, the random phases and the budget are ours.",
    ),
}


@register("korteweg_de_vries")
def korteweg_de_vries(
    split: Literal["solitons", "zabusky_kruskal"] = "solitons", size: int | None = None
) -> EnvironmentFamily:
    """Korteweg-de Vries waves.

    Args:
        split: ``"solitons"``: pairs of solitons on a line of length 32, 41 frames 0.5 apart, 9 seen environments in alpha
            and delta, 4 unseen (one between them, one beyond them in either parameter, one in both);
            ``"zabusky_kruskal"``: a cosine that breaks up into eight solitons, 37 frames, 3 seen environments in delta
            (the published one among them), 2 unseen. All its initial states are one wave, shifted.
        size: points; 128 and 256 by default.
    """
    system, seen, unseen, (frames, dt), budget, box, source = choose_split("korteweg_de_vries", split, _SPLITS)
    size = system["size"] if size is None else size
    return EnvironmentFamily(
        name="korteweg_de_vries",
        split=split,
        system=KortewegDeVries(**{**system, "size": size}),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(frames, dtype=torch.float64) * dt,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split, "size": size},
    )

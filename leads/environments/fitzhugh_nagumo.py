"""FitzHugh-Nagumo: a neuron in two variables, without space."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System


class FitzHughNagumo(System):
    """Membrane potential v and recovery w under an input current I:

        dv/dt = c (v - v^3 / 3 - w + I)
        dw/dt = (v + a - b w) / c

    State ``(2,)``, without units. Defaults a = 0.7, b = 0.8, c = 3 (FitzHugh's values; the ratio of the two time scales
    is c^2 = 9) and I = 0.4. FitzHugh's x, y and stimulus z are here -v, w and -I, so that a positive current excites.
    Initial states are uniform in [-2, 2] x [-1, 1.5] (ours), around the cycle.

    The resting state has v - v^3 / 3 - (v + a) / b + I = 0: a single one for b < 1. It is stable where
    v^2 > 1 - b / c^2: at the defaults for I < 0.3465 (the neuron rests, but a push fires it) and I > 1.4035; in
    between it spikes periodically.
    Source: FitzHugh, Biophysical Journal 1 (1961) 445; Nagumo, Arimoto and Yoshizawa, Proceedings of the
    IRE 50 (1962) 2061.
    """

    channels = (Channel("v", "1", "membrane potential"), Channel("w", "1", "recovery"))
    parameters = (
        Parameter("a", "1", 0.0, 2.0, "offset of the recovery"),
        Parameter("b", "1", 0.0, 2.0, "damping of the recovery"),
        Parameter("c", "1", 0.5, 10.0, "root of the ratio of the time scales"),
        Parameter("I", "1", -2.0, 3.0, "input current"),
    )
    rtol, atol = 1e-12, 1e-14

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        v, w = x.unbind(-1)
        a, b, c, current = p.unbind(-1)
        return torch.stack([c * (v - v * v * v / 3 - w + current), (v + a - b * w) / c], -1)

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """As :meth:`simulate`: no generator of this system's data is published."""
        return self.simulate(x0, p, t)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform((-2.0, -1.0), (2.0, 1.5), size=(n, 2)))

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``energy``, ``v^2 / (2 c) + c w^2 / 2``, which changes at the rate ``v^2 - v^4 / 3 + I v + a w - b w^2``; and
        ``divergence`` of the flow, ``c (1 - v^2) - b / c``, the rate at which areas of states grow."""
        v, w = x.unbind(-1)
        _, b, c, _ = p.unbind(-1)
        return {"energy": v * v / (2 * c) + c * w * w / 2, "divergence": c * (1 - v * v) - b / c}


#: seen, unseen, range of fresh environments, budget, source
_SPLITS = {
    "ours": (
        [(0.7, 0.8, c, i) for c, i in product((2.5, 3.0, 3.5), (0.2, 0.4, 0.6))],
        [(0.7, 0.8, c, i) for c, i in product((2.75, 3.75), (0.3, 0.8))],
        Box((0.7, 0.8, 2.5, 0.2), (0.7, 0.8, 3.5, 0.6)),
        Budget(train=4, test=32),
        "Ours, around the values of FitzHugh (1961).",
    ),
}


@register("fitzhugh_nagumo")
def fitzhugh_nagumo(split: Literal["ours"] = "ours") -> EnvironmentFamily:
    """FitzHugh-Nagumo neuron on 40 frames, dt = 0.5, tested to twice that time.

    Args:
        split: ``"ours"``: 9 seen environments, c in 2.5, 3, 3.5 and I in 0.2 (at rest), 0.4 and 0.6 (spiking); 4 unseen,
            one half inside the range of each parameter and one half beyond.
    """
    seen, unseen, box, budget, source = choose_split("fitzhugh_nagumo", split, _SPLITS)
    return EnvironmentFamily(
        name="fitzhugh_nagumo",
        split=split,
        system=FitzHughNagumo(),
        seen=torch.tensor(seen, dtype=torch.float64),
        unseen=torch.tensor(unseen, dtype=torch.float64),
        times=torch.arange(40, dtype=torch.float64) * 0.5,
        test_times=torch.arange(80, dtype=torch.float64) * 0.5,
        budget=budget,
        distribution=box,
        source=source,
        arguments={"split": split},
    )

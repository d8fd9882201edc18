"""Glycolytic oscillator: seven metabolites of yeast that oscillate."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.family import Box, Budget, EnvironmentFamily, choose_split, register
from leads.environments.system import Channel, Parameter, System

#: Ranges of initial concentrations.
_LOW = (0.15, 0.19, 0.04, 0.10, 0.08, 0.14, 0.05)
_HIGH = (1.60, 2.16, 0.20, 0.35, 0.30, 2.67, 0.10)


class GlycolyticOscillator(System):
    """Glucose s1, triose s2, bisphosphoglycerate s3, pyruvate s4, NADH s5, ATP s6 and external pyruvate s7:

        r = k1 s1 s6 / (1 + (s6 / K1)^q)
        ds1/dt = J0 - r
        ds2/dt = 2 r - k2 s2 (N - s5) - k6 s2 s5
        ds3/dt = k2 s2 (N - s5) - k3 s3 (A - s6)
        ds4/dt = k3 s3 (A - s6) - k4 s4 s5 - kappa (s4 - s7)
        ds5/dt = k2 s2 (N - s5) - k4 s4 s5 - k6 s2 s5
        ds6/dt = -2 r + 2 k3 s3 (A - s6) - k5 s6
        ds7/dt = psi kappa (s4 - s7) - k s7

    State ``(7,)``, mM; time in minutes. k1 is the rate of the phosphofructokinase reaction, K1 the ATP concentration
    that inhibits it, q the steepness of the inhibition; N and A are the totals of NAD+ + NADH and ADP + ATP, and psi is
    the ratio of the cells' volume to the medium's. Defaults: J0 = 2.5, k1 = 100, k2 = 6, k3 = 16, k4 = 100, k5 = 1.28,
    k6 = 12, K1 = 0.52, q = 4, N = 1, A = 4, kappa = 13, psi = 0.1, k = 1.8; the published splits vary k1 and K1.
    Initial states are uniform in (0.15, 1.60), (0.19, 2.16), (0.04, 0.20), (0.10, 0.35), (0.08, 0.30), (0.14, 2.67),
    (0.05, 0.10).

    Rates reach a few hundred per minute; DOP853 at rtol 1e-12 is within 1e-10 of the solution.
    Source: Ruoff, Christensen, Wolf and Heinrich, Biophysical Chemistry 106 (2003) 179; Daniels and Nemenman, PLOS ONE
    10 (2015) e0119821, table 1; set-up of Kirchmeyer et al., CoDA (2022).
    """

    channels = (
        Channel("s1", "mM", "glucose"),
        Channel("s2", "mM", "glyceraldehyde 3-phosphate and dihydroxyacetone phosphate"),
        Channel("s3", "mM", "1,3-bisphosphoglycerate"),
        Channel("s4", "mM", "pyruvate and acetaldehyde"),
        Channel("s5", "mM", "NADH"),
        Channel("s6", "mM", "ATP"),
        Channel("s7", "mM", "pyruvate and acetaldehyde outside the cells"),
    )
    parameters = (
        Parameter("J0", "mM min-1", 0.0, 10.0, "glucose influx"),
        Parameter("k1", "mM-1 min-1", 1.0, 200.0, "phosphofructokinase rate"),
        Parameter("k2", "mM-1 min-1", 0.0, 50.0, "GAPDH rate"),
        Parameter("k3", "mM-1 min-1", 0.0, 100.0, "ATP production rate"),
        Parameter("k4", "mM-1 min-1", 0.0, 500.0, "ethanol production rate"),
        Parameter("k5", "min-1", 0.0, 10.0, "ATP consumption rate"),
        Parameter("k6", "mM-1 min-1", 0.0, 100.0, "glycerol production rate"),
        Parameter("K1", "mM", 0.1, 5.0, "ATP inhibition constant"),
        Parameter("q", "1", 1.0, 10.0, "cooperativity of the ATP inhibition"),
        Parameter("N", "mM", 0.1, 10.0, "total NAD+ and NADH"),
        Parameter("A", "mM", 0.5, 20.0, "total ADP and ATP"),
        Parameter("kappa", "min-1", 0.0, 100.0, "membrane exchange rate"),
        Parameter("psi", "1", 0.0, 1.0, "volume of the cells over that of the medium"),
        Parameter("k", "min-1", 0.0, 20.0, "outside degradation rate"),
    )
    rtol, atol = 1e-12, 1e-14

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        del t
        s1, s2, s3, s4, s5, s6, s7 = x.unbind(-1)
        j0, k1, k2, k3, k4, k5, k6, inhibition, q, n, a, kappa, psi, k = p.unbind(-1)
        pfk = k1 * s1 * s6 / (1 + (s6 / inhibition) ** q)
        gapdh = k2 * s2 * (n - s5)
        production = k3 * s3 * (a - s6)
        ethanol, glycerol, exchange = k4 * s4 * s5, k6 * s2 * s5, kappa * (s4 - s7)
        return torch.stack(
            [
                j0 - pfk,
                2 * pfk - gapdh - glycerol,
                gapdh - production,
                production - ethanol - exchange,
                gapdh - ethanol - glycerol,
                2 * (production - pfk) - k5 * s6,
                psi * exchange - k * s7,
            ],
            -1,
        )

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform(_LOW, _HIGH, size=(n, 7)))

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """``carbon`` in the cells, in mM of three-carbon units: ``2 s1 + s2 + s3 + s4``, which changes at the rate
        ``2 J0 - k6 s2 s5 - k4 s4 s5 - kappa (s4 - s7)``, since glycolysis itself only passes it on; the shares ``s6 / A``
        of ATP in all adenine nucleotides and ``s5 / N`` of NADH in all nicotinamide, ``energy charge`` and
        ``reduced share``. The totals A and N are constant by construction."""
        s1, s2, s3, s4, s5, s6, _ = x.unbind(-1)
        return {
            "carbon": 2 * s1 + s2 + s3 + s4,
            "energy charge": s6 / p[..., self.parameter_index("A")],
            "reduced share": s5 / p[..., self.parameter_index("N")],
        }


def _row(k1: float, inhibition: float) -> tuple[float, ...]:
    return (2.5, k1, 6.0, 16.0, 100.0, 1.28, 12.0, inhibition, 4.0, 1.0, 4.0, 13.0, 0.1, 1.8)


_CODA = "Kirchmeyer et al. (2022), CoDA: public code"
_NARROW = (
    _CODA + ", narrower range of k1. It adapts in no environment of this range; the unseen ones, midway, are ours."
)

#: seen k1, unseen k1, horizon, budget, source
_SPLITS = {
    "coda": ((100.0, 90.0, 80.0), (85.0, 95.0), 1.0, Budget(train=32, test=32), _CODA + "."),
    "coda_1": ((100.0, 97.5, 95.0), (96.25, 98.75), 1.0, Budget(train=32, test=32), _NARROW),
    "coda_2": ((100.0, 95.0, 90.0), (92.5, 97.5), 1.0, Budget(train=32, test=32), _NARROW),
    "coda_3": ((100.0, 99.5, 99.0), (99.25, 99.75), 1.0, Budget(train=32, test=32), _NARROW),
    "fnsda": (
        (100.0, 90.0, 80.0),
        (85.0, 95.0),
        2.0,
        Budget(train=100, test=50, adapt_test=50),
        "Qin et al. (2025), FNSDA: public code; environments as CoDA's.",
    ),
}


@register("glycolytic_oscillator")
def glycolytic_oscillator(
    split: Literal["coda", "coda_1", "coda_2", "coda_3", "fnsda"] = "coda",
) -> EnvironmentFamily:
    """Glycolytic oscillator, frames 0.05 apart (the published horizon T is not itself a frame).

    Args:
        split: ``"coda"`` (9 seen environments, k1 in 80, 90, 100 and K1 in 0.5, 0.75, 1; 4 unseen midway; 20 frames),
            ``"coda_1"``, ``"coda_2"`` or ``"coda_3"`` (k1 within 5, 10 or 1 of 100 instead of 20), or ``"fnsda"``
            (CoDA's environments, 40 frames, 100 training trajectories).
    """
    k1, unseen_k1, horizon, budget, source = choose_split("glycolytic_oscillator", split, _SPLITS)
    return EnvironmentFamily(
        name="glycolytic_oscillator",
        split=split,
        system=GlycolyticOscillator(),
        seen=torch.tensor([_row(*v) for v in product(k1, (1.0, 0.75, 0.5))], dtype=torch.float64),
        unseen=torch.tensor([_row(*v) for v in product(unseen_k1, (0.625, 0.875))], dtype=torch.float64),
        times=torch.arange(round(horizon / 0.05), dtype=torch.float64) * 0.05,
        budget=budget,
        distribution=Box(_row(min(k1), 0.5), _row(max(k1), 1.0)),
        source=source,
        arguments={"split": split},
    )

"""The published configurations whose steps are timed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plan:
    """One kind of training step.

    Attributes:
        name: as the tables say it.
        family, backbone, rollout, batch: of CoDA's configuration; a batch of 0 is all trajectories.
        phase: ``"rollout"`` (whole trajectories) or ``"forced"`` (teacher forcing: for us, windows of one side by side).
        reference_ms: what the reference code took on one core of a machine of this kind (shared/BASELINES.md).
        goal: times faster than the naive step that we aim at.
    """

    name: str
    family: str
    backbone: str
    settings: dict[str, Any]
    rollout: dict[str, Any]
    phase: str
    reference_ms: float
    goal: float
    model: dict[str, Any] = field(default_factory=lambda: {"spread": 0.1, "context_penalty": 1e-4, "l1": 1e-6})

    @property
    def key(self) -> str:
        return f"{self.family} {self.phase}"


RK4: dict[str, Any] = {"method": "rk4"}
PLANS = [
    Plan("Lotka-Volterra, 9 x 4 x 20", "lotka_volterra", "mlp", {}, RK4, "rollout", 96, 10),
    Plan("Lotka-Volterra, 9 x 4 x 20", "lotka_volterra", "mlp", {}, RK4, "forced", 101, 25),
    Plan("glycolytic, 9 x 32 x 20", "glycolytic_oscillator", "mlp", {}, RK4, "rollout", 241, 6),
    Plan("glycolytic, 9 x 32 x 20", "glycolytic_oscillator", "mlp", {}, RK4, "forced", 242, 6),
    Plan("Gray-Scott, 4 x 1 x 10 on 32 x 32", "gray_scott", "conv", {}, RK4, "rollout", 1200, 1.3),
    Plan("Gray-Scott, 4 x 1 x 10 on 32 x 32", "gray_scott", "conv", {}, RK4, "forced", 1220, 1.3),
    Plan("Navier-Stokes, 5 x 16 x 10 on 32 x 32", "navier_stokes", "fno", {"modes": 12}, {"method": "euler"}, "rollout", 3640, 6),
    Plan("Navier-Stokes, 5 x 16 x 10 on 32 x 32", "navier_stokes", "fno", {"modes": 12}, {"method": "euler"}, "forced", 3500, 6),
]  # fmt: skip

"""What a solver returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Fit:
    """Result of a solver.

    Attributes:
        contexts: shape ``(E, d)``.
        covariance: of the contexts, first states left free, shape ``(E, d, d)``; ``None`` where no Jacobian was formed.
        loss: mean square error of each environment, shape ``(E,)``, in the units of the data.
        converged: shape ``(E,)``.
        iterations: how many were made.
        losses: what was minimised, one row per iteration.
        initial: first states where they were estimated, ``(E, N, *S)``.
        notes: what else the solver has to say, for ``Adapted.info``.
    """

    contexts: Tensor
    covariance: Tensor | None
    loss: Tensor
    converged: Tensor
    iterations: int
    losses: list[list[float]]
    initial: Tensor | None = None
    notes: dict[str, Any] = field(default_factory=dict)

"""What a solver returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
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

    def with_rows(self, index: Tensor, other: Fit) -> Fit:
        """This one, with the environments numbered in ``index`` replaced by those of ``other``, which came after it.

        Rows of ``losses`` go on with the last value of those that have no more; of the notes, those are merged that both
        have.
        """
        rows = index.tolist()

        def put(mine: Tensor | None, its: Tensor | None) -> Tensor | None:
            return None if mine is None or its is None else mine.index_copy(0, index, its.to(mine))

        def row(mine: list[float], its: list[float]) -> list[float]:
            found = list(mine)
            for k, i in enumerate(rows):
                found[i] = its[k]
            return found

        pairs = zip_longest(self.losses, other.losses)
        losses = [row(a or self.losses[-1], b or other.losses[-1]) for a, b in pairs]
        notes = {k: row(v, other.notes[k]) for k, v in self.notes.items() if k in other.notes}
        contexts, loss, converged = (
            getattr(self, name).index_copy(0, index, getattr(other, name)) for name in ("contexts", "loss", "converged")
        )
        covariance, initial = put(self.covariance, other.covariance), put(self.initial, other.initial)
        return Fit(contexts, covariance, loss, converged, self.iterations + other.iterations, losses, initial, notes)

"""Work that ends itself when its time is up."""

from __future__ import annotations

import copy
import time
from typing import Any

from torch import Tensor

from leads.dynamics import DecomposedDynamics
from leads.serving.limits import BusyError


class Deadline:
    """A moment after which :meth:`check` raises.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def check(self) -> None:
        """Raise :class:`BusyError` if the time is up."""
        if time.monotonic() > self.end:
            raise self.passed()

    def passed(self) -> BusyError:
        """What to say of it."""
        return BusyError(
            f"No answer within {self.seconds:g} s. Send fewer environments, trajectories or frames, or try later."
        )

    def watch(self, model: DecomposedDynamics) -> DecomposedDynamics:
        """The same dynamics, of which no field is evaluated once the time is up; it shares the model's weights.

        A thread cannot be ended from outside. Every solver and every forecast is made of evaluations of the field, though,
        so that looking at the clock before each ends them in time.
        """
        adapter = copy.copy(model.adapter)
        own = type(adapter)

        def forward_all(its: Any, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
            self.check()
            return own.forward_all(its, t, x, prepared)

        adapter.__class__ = type(own.__name__, (own,), {"forward_all": forward_all})
        return model.with_adapter(adapter)

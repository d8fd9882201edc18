"""A system in other units: networks want states and rates of order one, oceans give them in metres and seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from leads.environments.system import System
from leads.errors import SettingsError, ShapeError


class InUnits(System):
    """The same equations for ``y = x / state`` and ``s = t / time``: ``dy/ds = time / state rhs(time s, state y, p)``.

    Parameters keep their units. Terms are those of ``system``, so that a hybrid can switch them off.

    Args:
        system: in its own units.
        time: how many of its time units make one of ours (86400: seconds to days).
        state: how many of its units make one of ours, one number or one a channel.
        time_unit, state_unit: names of our units; ``state_unit`` of every channel, where given.

    Raises:
        SettingsError: a unit that is not positive.
        ShapeError: another number of units than channels.
    """

    def __init__(
        self, system: System, time: float = 86400.0, state: float | Sequence[float] = 1.0, state_unit: str | None = None
    ) -> None:
        units = [float(state)] * len(system.channels) if isinstance(state, (int, float)) else [float(u) for u in state]
        if len(units) != len(system.channels):
            raise ShapeError(
                f"{len(units)} units came for the {len(system.channels)} channels of {type(system).__name__}."
            )
        if not time > 0 or not all(u > 0 for u in units):
            raise SettingsError(f"Units must be positive, got time={time} and state={state}.")
        self.system, self.time, self.units = system, time, units
        self.grid = system.grid
        self.parameters = system.parameters  # type: ignore[misc]
        self.terms = system.terms  # type: ignore[misc]
        self.channels = tuple(  # type: ignore[misc]
            c if state_unit is None else replace(c, unit=state_unit) for c in system.channels
        )
        space = len(system.state_shape) - 1
        self.state_scale = torch.tensor(units, dtype=torch.float64).reshape(-1, *(1,) * space)

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        return self._scaled(self.system.rhs, t, x, p)

    def _sum(self, names: tuple[str, ...], t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        return self._scaled(lambda s, y, q: self.system._sum(names, s, y, q), t, x, p)

    def _scaled(self, field: Callable[[Tensor, Tensor, Tensor], Tensor], t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        scale = self.state_scale.to(x)
        return field(t * self.time, x * scale, p) * (self.time / scale)

    def parts(self, t: Tensor, x: Tensor, p: Tensor) -> dict[str, Callable[[], Tensor]]:
        scale = self.state_scale.to(x)
        made = self.system.parts(t * self.time, x * scale, p)
        return {name: lambda part=part: part() * (self.time / scale) for name, part in made.items()}  # type: ignore[misc]

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return self.system.sample_x0(n, generator) / self.state_scale

    def spin_up(self, x: Tensor) -> Tensor:
        return self.system.spin_up(x * self.state_scale) / self.state_scale

    def invariant(self, x: Tensor, p: Tensor) -> Tensor | None:
        return self.system.invariant(x * self.state_scale.to(x), p)

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        return self.system.diagnostics(x * self.state_scale.to(x), p)

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        scale = self.state_scale.to(x0)
        return self.system.simulate(x0 * scale, p, t * self.time, refine=refine) / scale

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        scale = self.state_scale.to(x0)
        return self.system.simulate_published(x0 * scale, p, t * self.time) / scale

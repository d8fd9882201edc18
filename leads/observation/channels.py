"""Some channels of the state, and linear combinations of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leads.environments import Channel
from leads.errors import SettingsError, ShapeError
from leads.observation.operator import Layout, Operator, operators


@operators.register("channels")
@dataclass(frozen=True, eq=False)
class Channels(Operator):
    """The channels called ``names``, in this order.

    Raises:
        SettingsError: no names, one twice, or (when bound) one that the state does not have.
    """

    kind = "channels"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        object.__setattr__(self, "names", names)
        if not names or len(set(names)) < len(names):
            raise SettingsError(f"Channels needs the names of one or more different channels, got {names}.")

    def check(self, layout: Layout) -> None:
        for name in self.names:
            layout.index(name)

    @property
    def index(self) -> list[int]:
        """Numbers of the channels."""
        return [self.bound.index(name) for name in self.names]

    @property
    def output(self) -> Layout:
        return replace(self.bound, channels=tuple(self.bound.channels[i] for i in self.index))

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        del t
        return torch.stack([x.select(self.axis, i) for i in self.index], self.axis)

    def seen(self, mask: Tensor, t: Tensor | None = None) -> Tensor:
        return self.forward(mask, t)

    def variance(self, variance: Tensor) -> Tensor:
        return variance[self.index]

    def back(self, y: Tensor, seen: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        del t
        place = {i: k for k, i in enumerate(self.index)}
        nothing, unseen = torch.zeros_like(y.select(self.axis, 0)), torch.zeros_like(seen.select(self.axis, 0))
        every = range(len(self.bound.channels))
        states = [y.select(self.axis, place[i]) if i in place else nothing for i in every]
        masks = [seen.select(self.axis, place[i]) if i in place else unseen for i in every]
        return torch.stack(states, self.axis), torch.stack(masks, self.axis)


@operators.register("combine")
@dataclass(frozen=True, eq=False)
class Combine(Operator):
    """Linear combinations of channels at every point, ``y_i = sum_j weights[i][j] x_j``.

    Sea-surface height from a streamfunction in m^2/s of a state ``(psi1, psi2)``, for f0 = 1e-4 / s:
    ``Combine(((1e-4 / 9.81, 0.0),), ("ssh",), ("m",))``.

    Args:
        weights: one row for each combination, one entry for each channel of the state.
        names, units: of the combinations.

    Raises:
        SettingsError: rows of unequal length, or names or units that are not one a row.
        ShapeError: when bound, rows of another length than the state has channels.
    """

    kind = "combine"
    weights: tuple[tuple[float, ...], ...] = ()
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = tuple(tuple(float(w) for w in row) for row in self.weights)
        object.__setattr__(self, "weights", rows)
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "units", tuple(self.units) or ("1",) * len(rows))
        if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
            raise SettingsError(f"Combine needs rows of weights of one length, got {self.weights}.")
        if len(self.names) != len(rows) or len(self.units) != len(rows):
            raise SettingsError(
                f"Combine needs a name (and a unit) for each of its {len(rows)} rows, got {self.names} and {self.units}."
            )

    def check(self, layout: Layout) -> None:
        if len(self.weights[0]) != len(layout.channels):
            names = ", ".join(c.name for c in layout.channels)
            raise ShapeError(
                f"Combine has {len(self.weights[0])} weights a row, the state {len(layout.channels)} channels ({names})."
            )

    @property
    def output(self) -> Layout:
        channels = tuple(Channel(n, u) for n, u in zip(self.names, self.units, strict=True))
        return replace(self.bound, channels=channels)

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        del t
        return self._mix(torch.tensor(self.weights, dtype=x.dtype, device=x.device), x)

    def seen(self, mask: Tensor, t: Tensor | None = None) -> Tensor:
        del t
        needed = torch.tensor(self.weights, device=mask.device) != 0
        return self._mix(needed.float(), (~mask).float()) == 0

    def variance(self, variance: Tensor) -> Tensor:
        return torch.tensor(self.weights).to(variance).square() @ variance

    def back(self, y: Tensor, seen: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The least state, by the pseudo-inverse of the weights."""
        del t
        inverse = torch.linalg.pinv(torch.tensor(self.weights, dtype=torch.float64)).to(y)
        known = torch.where(seen, y, y.new_zeros(()))
        used = (inverse.abs() > 1e-12).to(y)
        return self._mix(inverse, known), self._mix(used, seen.to(y)) > 0

    def _mix(self, matrix: Tensor, x: Tensor) -> Tensor:
        return torch.einsum("ij,j...->i...", matrix, x.movedim(self.axis, 0)).movedim(0, self.axis)

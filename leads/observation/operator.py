"""What an observation operator is: from full states to what is seen of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from leads.environments import Channel, Grid
from leads.errors import SettingsError, ShapeError
from leads.registry import Registry, nearest

operators: Registry[type[Operator]] = Registry("observation operator")


class HasLayout(Protocol):
    """Whatever says what its states are: a system, trajectories."""

    @property
    def channels(self) -> tuple[Channel, ...]: ...
    @property
    def grid(self) -> Grid | None: ...
    @property
    def state_shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Layout:
    """Names and shape of a state ``(C, *X)``: its channels, its space axes, and their grid where there is one."""

    channels: tuple[Channel, ...]
    space: tuple[int, ...] = ()
    grid: Grid | None = None

    @classmethod
    def of(cls, like: HasLayout | Layout) -> Layout:
        """The layout of a system's states, or of trajectories (unnamed channels become ``channel0``, ...)."""
        if isinstance(like, Layout):
            return like
        count, *space = like.state_shape
        channels = tuple(like.channels) or tuple(Channel(f"channel{i}") for i in range(count))
        return cls(channels, tuple(space), like.grid)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """``(C, *X)``."""
        return (len(self.channels), *self.space)

    def index(self, name: str) -> int:
        """Number of the channel called ``name``; an unknown name is answered with the nearest ones."""
        names = [c.name for c in self.channels]
        if name not in names:
            raise SettingsError(f"The state has no channel {name!r}. {nearest(str(name), names)}")
        return names.index(name)

    def describe(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        grid = None if self.grid is None else {f.name: getattr(self.grid, f.name) for f in fields(Grid)}
        return {"channels": [[c.name, c.unit, c.long_name] for c in self.channels], "space": self.space, "grid": grid}

    @classmethod
    def from_description(cls, values: Mapping[str, Any]) -> Layout:
        """Inverse of :meth:`describe`."""
        grid = values["grid"]
        if grid is not None:
            shape, spacing, axes = (tuple(grid[k]) for k in ("shape", "spacing", "axes"))
            grid = Grid(shape, spacing, axes, str(grid["unit"]), bool(grid["periodic"]))
        return cls(tuple(Channel(*c) for c in values["channels"]), tuple(values["space"]), grid)


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """``y(t) = H(t) x(t)``, and what of it is seen.

    An operator is made without knowing the states and tied to them by :meth:`bind`, which the functions that take one do
    themselves. ``a | b`` observes what ``a`` gives by ``b``.

    States have shape ``(..., T, C, *X)`` with any leading axes, observations ``(..., T, C', *X')``; times ``t`` have
    shape ``(T,)`` or ``(..., T)`` with axes that broadcast against the leading ones, and may be left out where nothing
    depends on them. :meth:`forward` is pure, differentiable mathematics, without noise, and gives a value also where
    nothing is seen (a forecast under clouds is of use). :meth:`seen` says where something is, and :meth:`observe` draws what is random,
    which :func:`leads.trajectories.observe` does for whole data sets.

    Attributes:
        layout: of the states, once bound.
    """

    kind: ClassVar[str]
    #: Whether H is another at other times.
    moves: ClassVar[bool] = False
    layout: Layout | None = field(default=None, kw_only=True, repr=False)

    # What a subclass gives.

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """``H x`` without noise."""

    @property
    def output(self) -> Layout:
        """Layout of the observations: as that of the states by default."""
        return self.bound

    def check(self, layout: Layout) -> None:
        """Refuse states that cannot be observed so. Nothing by default."""
        del layout

    def seen(self, mask: Tensor, t: Tensor | None = None) -> Tensor:
        """Where something is seen, ``(..., T, C', *X')``, if of the states ``mask`` ``(..., T, C, *X)`` is known."""
        del t
        return mask

    def observe(self, x: Tensor, mask: Tensor, t: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One draw of the observations ``(..., T, C', *X')``, noise and gaps in it, and where something is seen."""
        del generator
        return self.forward(x, t), self.seen(mask, t)

    def variance(self, variance: Tensor) -> Tensor:
        """Variance of the noise of each observed channel ``(C',)``, if that of the states' channels is ``variance (C,)``."""
        return variance

    def gridded(self, y: Tensor, seen: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Observations ``(..., T, C', *X')`` and their mask on the space axes of the states, ``(..., T, C', *X)``."""
        del t
        return y, seen

    def back(self, y: Tensor, seen: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A state ``(..., T, C, *X)`` that the observations suggest, and of which of its entries they say something."""
        del t
        return y, seen

    def rows(self, environments: Sequence[int]) -> Operator:
        """The operator of some environments; the same one where it does not differ between them."""
        del environments
        return self

    # What it gets for it.

    def __call__(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """``H x`` without noise, see the class.

        Raises:
            SettingsError: not bound, or times left out that are needed.
            ShapeError: states that do not end in the layout's shape.
        """
        shape = self.bound.state_shape
        if tuple(x.shape[-len(shape) :]) != shape:
            raise ShapeError(f"{type(self).__name__} observes states (..., T, {shape}), got {tuple(x.shape)}.")
        return self.forward(x, t)

    def bind(self, like: HasLayout | Layout) -> Self:
        """The operator tied to the states of a system, of trajectories, or of a layout.

        Raises:
            SettingsError, ShapeError: states that cannot be observed so.
        """
        layout = Layout.of(like)
        self.check(layout)
        return replace(self, layout=layout)

    @property
    def bound(self) -> Layout:
        """The layout of the states; raises :class:`SettingsError` where the operator has none yet."""
        if self.layout is None:
            raise SettingsError(f"{type(self).__name__} is not tied to any states yet: call operator.bind(data) first.")
        return self.layout

    @property
    def axis(self) -> int:
        """Position of the channels in a state, counted from the end."""
        return -1 - len(self.bound.space)

    def times(self, t: Tensor | None) -> Tensor:
        """``t``, in float64; raises :class:`SettingsError` where it was left out."""
        if t is None:
            raise SettingsError(f"{type(self).__name__} depends on time: give the times of the frames, operator(x, t).")
        return t.double()

    def __or__(self, other: Operator) -> Operator:
        from leads.observation.compose import Compose

        return Compose((self, other))

    def describe(self) -> dict[str, Any]:
        """Plain values from which :func:`from_description` makes the operator again."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "layout"}
        layout = None if self.layout is None else self.layout.describe()
        return {"kind": self.kind, "layout": layout, **{k: self.encode(v) for k, v in values.items()}}

    @classmethod
    def decode(cls, value: Any) -> Any:
        """A field from what :meth:`encode` made of it."""
        return tuple(cls.decode(v) for v in value) if isinstance(value, list) else value

    def encode(self, value: Any) -> Any:
        """A field as a plain value."""
        return [self.encode(v) for v in value] if isinstance(value, tuple) else value


def from_description(values: Mapping[str, Any]) -> Operator:
    """The operator that :meth:`Operator.describe` described.

    Raises:
        SettingsError, UnknownNameError: no such operator, or values that it does not take.
    """
    values = dict(values)
    layout = values.pop("layout", None)
    kind = operators[values.pop("kind", "")]
    try:
        operator = kind(**{k: kind.decode(v) for k, v in values.items()})
        return operator if layout is None else operator.bind(Layout.from_description(layout))
    except (TypeError, KeyError, AttributeError) as error:
        raise SettingsError(f"The description of a {kind.__name__} operator is damaged: {error}.") from error

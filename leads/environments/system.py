"""What a physical system is: channels, parameters, a right-hand side, initial states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from leads.errors import DataError, SettingsError, ShapeError
from leads.integrators import integrate


@dataclass(frozen=True)
class Channel:
    """One component of the state."""

    name: str
    unit: str = "1"
    long_name: str = ""


@dataclass(frozen=True)
class Parameter:
    """One physical parameter, with its admissible range (inclusive)."""

    name: str
    unit: str = "1"
    low: float = -inf
    high: float = inf
    long_name: str = ""


@dataclass(frozen=True)
class Grid:
    """A uniform grid; ``shape`` counts cells and ``spacing`` is the distance of cell centres, one entry an axis."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    axes: tuple[str, ...]
    unit: str = "1"
    periodic: bool = True

    def coordinates(self, axis: int) -> Tensor:
        """Cell centres along ``axis``, shape ``(shape[axis],)``, float64."""
        return torch.arange(self.shape[axis], dtype=torch.float64) * self.spacing[axis]


class System(ABC):
    """Equations of motion in torch.

    The same lines generate data and serve as the known part of a hybrid model, so ``rhs`` is batched over leading
    axes, differentiable in the state and the parameters, and free of in-place writes.
    """

    channels: ClassVar[tuple[Channel, ...]]
    parameters: ClassVar[tuple[Parameter, ...]]
    grid: Grid | None = None
    #: Steps of the reference integrator (order 8) per unit of time at reference accuracy.
    reference_rate: float = 20.0

    @property
    def state_shape(self) -> tuple[int, ...]:
        """``(C, *X)``."""
        return (len(self.channels), *(self.grid.shape if self.grid else ()))

    @abstractmethod
    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        """Time derivative.

        Args:
            t: time, shape ``()``.
            x: states, shape ``(..., C, *X)``.
            p: parameters, shape ``(..., P)`` with leading axes that broadcast against those of ``x``.

        Returns:
            ``dx/dt``, shape of ``x``.
        """

    @abstractmethod
    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        """Draw ``n`` initial states, shape ``(n, C, *X)``, float64.

        NumPy's ``RandomState`` is used because its stream is frozen for good: a seed names the same data on every
        machine and version, and it is the stream that the published generators drew from.
        """

    def invariant(self, x: Tensor, p: Tensor) -> Tensor | None:
        """A quantity conserved along solutions, shape ``(...)``, or ``None`` where the system has none."""
        del x, p
        return None

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        """Solve from ``x0`` at reference accuracy.

        Every trajectory takes the same fixed steps, so its result does not depend on what is solved beside it.

        Args:
            x0: initial states, shape ``(E, N, C, *X)``.
            p: parameters, shape ``(E, P)``.
            t: strictly increasing times, shape ``(T,)``; the first is the time of ``x0``.
            refine: multiplies the number of steps (for step-doubling checks).

        Returns:
            States, shape ``(E, N, T, C, *X)``, in the dtype of ``x0``.

        Raises:
            ShapeError, DataError: inputs that do not fit the system, or parameters outside their range.
        """
        self.check_state(x0, leading=2)
        self.check_parameters(p)
        p = p.to(x0)[:, None]
        rate = self.reference_rate * refine
        states = integrate(lambda s, x: self.rhs(s, x, p), x0, t, method="dop853", max_step=1.0 / rate)
        return states.movedim(0, 2)

    def split(self, p: Tensor) -> tuple[Tensor, ...]:
        """The parameters one by one, each shaped to broadcast against one channel's field ``(..., *X)``."""
        space = (1,) * (len(self.state_shape) - 1)
        return tuple(q.reshape(*q.shape, *space) for q in p.unbind(-1))

    def check_state(self, x: Tensor, leading: int) -> None:
        """Raise :class:`ShapeError` unless ``x`` has ``leading`` axes before ``(C, *X)``, :class:`DataError` if not finite."""
        expected = self.state_shape
        if x.ndim != leading + len(expected) or tuple(x.shape[leading:]) != expected:
            names = ("E", "N", "T")[:leading]
            raise ShapeError(
                f"States of {type(self).__name__} need shape ({', '.join((*names, *map(str, expected)))}), "
                f"got {tuple(x.shape)}."
            )
        if not bool(torch.isfinite(x).all()):
            raise DataError(f"States of {type(self).__name__} contain NaN or infinite values; remove or mask them.")

    def check_parameters(self, p: Tensor) -> None:
        """Raise unless ``p`` has shape ``(E, P)`` and every value lies in its admissible range."""
        if p.ndim != 2 or p.shape[1] != len(self.parameters):
            names = ", ".join(q.name for q in self.parameters)
            raise ShapeError(f"Parameters need shape (E, {len(self.parameters)}) for ({names}), got {tuple(p.shape)}.")
        for i, spec in enumerate(self.parameters):
            bad = ~((p[:, i] >= spec.low) & (p[:, i] <= spec.high))
            if bool(bad.any()):
                e = int(bad.nonzero()[0])
                raise DataError(
                    f"Parameter {spec.name} of environment {e} is {float(p[e, i]):g}, outside its admissible range "
                    f"[{spec.low:g}, {spec.high:g}]."
                )

    def parameter_index(self, name: str) -> int:
        """Position of the parameter called ``name``."""
        names = [q.name for q in self.parameters]
        if name not in names:
            raise SettingsError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(names)}.")
        return names.index(name)

"""What a physical system is: channels, parameters, a right-hand side, initial states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from leads.environments.batches import (
    Layout,
    compiled_attempt,
    even_chunk,
    in_batches,
    worth_compiling,
)
from leads.errors import DataError, DivergenceError, SettingsError, ShapeError, UnknownNameError
from leads.integrators import integrate_each, interpolate_each, tableau
from leads.registry import nearest


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
class Term:
    """One named part of a right-hand side, and the names of the parameters that it reads."""

    name: str
    parameters: tuple[str, ...] = ()


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
    #: The terms whose sum is ``rhs``; none where a system is not taken apart.
    terms: ClassVar[tuple[Term, ...]] = ()
    #: How reference solutions are made: an adaptive method, and the tolerances of its steps.
    method: str = "dop853"
    rtol: float = 1e-10
    atol: float = 1e-12
    #: How the published generator solves: method, rtol, atol. dopri5 stands for SciPy's RK45 (here at its defaults).
    published: tuple[str, float, float] = ("dopri5", 1e-3, 1e-6)
    #: Whether twice the steps tell the error. Not where the step is part of the system's definition.
    steps_tell_error: bool = True
    #: Whether steps of the reference solution are compiled; ``None``: where the work is large enough to repay it.
    compile: bool | None = None

    @property
    def state_shape(self) -> tuple[int, ...]:
        """``(C, *X)``."""
        return (len(self.channels), *(self.grid.shape if self.grid else ()))

    @abstractmethod
    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        """Time derivative.

        Args:
            t: time, shape ``()``, or leading axes like those of ``p``.
            x: states, shape ``(..., C, *X)``.
            p: parameters, shape ``(..., P)`` with leading axes that broadcast against those of ``x``.

        Returns:
            ``dx/dt``, shape of ``x``.
        """

    def parts(self, t: Tensor, x: Tensor, p: Tensor) -> dict[str, Callable[[], Tensor]]:
        """Each of ``terms`` as a function that evaluates it; arguments as for :meth:`rhs`."""
        del t, x, p
        return {}

    def partial_rhs(self, names: Iterable[str], t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        """The sum of the terms called ``names``; arguments and result as for :meth:`rhs`.

        Raises:
            UnknownNameError: a term that the system does not have; the nearest ones are offered.
        """
        names = tuple(dict.fromkeys(names))
        for name in names:
            self.term(name)
        return self._sum(names, t, x, p)

    def term(self, name: str) -> Term:
        """The term called ``name``; an unknown name is answered with the nearest known ones."""
        known = {term.name: term for term in self.terms}
        if name not in known:
            raise UnknownNameError(f"{type(self).__name__} has no term {name!r}. {nearest(name, known)}")
        return known[name]

    def _sum(self, names: tuple[str, ...], t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        parts = self.parts(t, x, p)
        total = torch.zeros_like(x)
        for name in names:
            total = total + parts[name]()
        return total

    @abstractmethod
    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        """Draw ``n`` initial states, shape ``(n, C, *X)``, float64.

        NumPy's ``RandomState`` is used because its stream is frozen for good: a seed names the same data on every
        machine and version, and it is the stream that the published generators drew from.
        """

    def spin_up(self, x: Tensor) -> Tensor:
        """Turn draws of :meth:`sample_x0`, ``(n, C, *X)``, into initial states: as they are by default.

        Systems whose flow must develop first integrate all of them here, side by side.
        """
        return x

    def invariant(self, x: Tensor, p: Tensor) -> Tensor | None:
        """A quantity conserved along solutions, shape ``(...)``, or ``None`` where the system has none."""
        del x, p
        return None

    def diagnostics(self, x: Tensor, p: Tensor) -> dict[str, Tensor]:
        """Quantities that physicists watch (energy, enstrophy, mass ...), by name, each of shape ``(...)``.

        By default the invariant, where there is one.
        """
        conserved = self.invariant(x, p)
        return {} if conserved is None else {"invariant": conserved}

    def simulate(self, x0: Tensor, p: Tensor, t: Tensor, *, refine: int = 1) -> Tensor:
        """Solve from ``x0`` at reference accuracy.

        A trajectory's result does not depend on what is solved beside it.

        Args:
            x0: initial states, shape ``(E, N, C, *X)``.
            p: parameters, shape ``(E, P)``.
            t: strictly increasing times, shape ``(T,)``; the first is the time of ``x0``.
            refine: multiplies the number of steps (for step-doubling checks).

        Returns:
            States, shape ``(E, N, T, C, *X)``, in the dtype of ``x0``.

        Raises:
            ShapeError, DataError: inputs that do not fit the system, or parameters outside their range.
            DivergenceError: a trajectory blows up; its environment, its number and the time are named.
        """
        self.check_refine(refine)
        scale = refine ** (tableau(self.method).order + 1)
        # Below the rounding of the states no step would ever be kept.
        smallest = 20 * torch.finfo(x0.dtype).eps
        rtol, atol = max(self.rtol / scale, smallest), max(self.atol / scale, smallest * self.atol / self.rtol)
        return self._flat(x0, p, lambda x, q: self._solve(x, q, t, rtol, atol))

    def simulate_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """Solve as the published generators do, with their error; arguments and result as for :meth:`simulate`.

        By default with the method and tolerances of ``published``: RK45 runs one frame past the last one and is
        interpolated to the frames, as SciPy does it; DOP853 lands on them.
        """
        return self._flat(x0, p, lambda x, q: self._solve_published(x, q, t))

    def _flat(self, x0: Tensor, p: Tensor, solve: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Check inputs and hand all trajectories to ``solve`` as one batch ``(B, C, *X)``, ``(B, P)``."""
        self.check_state(x0, leading=2)
        self.check_parameters(p)
        if len(p) != len(x0):
            raise ShapeError(f"The initial states cover {len(x0)} environments (axis 0), the parameters {len(p)}.")
        e, n = x0.shape[:2]
        wide = p.to(x0)[:, None].expand(e, n, -1).flatten(0, 1)
        try:
            states = solve(x0.flatten(0, 1), wide)
        except DivergenceError as error:
            index = error.trajectory
            if index is None:
                raise
            values = ", ".join(f"{q.name} = {float(v):g}" for q, v in zip(self.parameters, p[index // n], strict=True))
            raise DivergenceError(
                f"Trajectory {index % n} of environment {index // n} ({values}) of {type(self).__name__} blows up at "
                f"t = {error.time:g}. Shorten the horizon, or choose other parameters or initial states.",
                environment=index // n,
                trajectory=index % n,
                time=error.time,
            ) from error
        return states.movedim(0, 1).unflatten(0, (e, n))

    def _solve(self, x0: Tensor, p: Tensor, t: Tensor, rtol: float, atol: float) -> Tensor:
        """``(B, C, *X)``, ``(B, P)`` to ``(T, B, C, *X)``."""
        return self._each(x0, p, t, self.method, rtol, atol)

    def _solve_published(self, x0: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """The same with the method and tolerances of ``published``."""
        method, rtol, atol = self.published
        if method != "dopri5":
            return self._each(x0, p, t, method, rtol, atol)
        end = float(t[-1] + (t[-1] - t[-2])) if len(t) > 1 else float(t[-1]) + 1.0
        compiles = worth_compiling(self, x0, p)
        layout = self.layout(x0, compiles, method)
        attempt = compiled_attempt(self, layout, method, dense=True) if compiles else None
        solve = lambda x, q: interpolate_each(  # noqa: E731
            layout.field, x, t, end, q, rtol=rtol, atol=atol, batch_last=layout.batch_last, attempt=attempt
        )
        return in_batches(x0, p, layout, solve)

    def _each(self, x0: Tensor, p: Tensor, t: Tensor, method: str, rtol: float, atol: float) -> Tensor:
        compiles = worth_compiling(self, x0, p)
        layout = self.layout(x0, compiles, method)
        common: dict[str, Any] = {"method": method, "rtol": rtol, "atol": atol, "batch_last": layout.batch_last}
        if compiles:
            common["attempt"] = compiled_attempt(self, layout, method)
        return in_batches(x0, p, layout, lambda x, q: integrate_each(layout.field, x, t, q, **common))

    def layout(self, x0: Tensor, compiles: bool, method: str) -> Layout:
        """How a batch ``(B, C, *X)`` is laid out for a solver by ``method``."""
        del method
        if compiles:
            chunk = max(even_chunk(len(x0)), 1)
            return Layout(self.rhs, False, chunk, chunk)
        # Sines and powers differ in their last bit between a full vector of the processor and what is left over, so
        # that small states are filled up to whole vectors: the same numbers come out whatever the batch.
        return Layout(self.rhs, False, None, 64 if x0[:1].numel() < 64 else 1)

    def split(self, p: Tensor) -> tuple[Tensor, ...]:
        """The parameters one by one, each shaped to broadcast against one channel's field ``(..., *X)``."""
        space = (1,) * (len(self.state_shape) - 1)
        return tuple(q.reshape(*q.shape, *space) for q in p.unbind(-1))

    def check_refine(self, refine: int) -> None:
        """Raise :class:`SettingsError` unless ``refine`` is a whole number of at least 1."""
        if not isinstance(refine, int) or refine < 1:
            raise SettingsError(f"refine multiplies the number of steps: a whole number of at least 1, got {refine!r}.")

    def check_state(self, x: Tensor, leading: int) -> None:
        """Raise :class:`ShapeError` unless ``x`` has ``leading`` axes before ``(C, *X)``, :class:`DataError` if not finite."""
        expected = self.state_shape
        if x.ndim != leading + len(expected) or tuple(x.shape[leading:]) != expected:
            names = ("E", "N", "T")[:leading]
            raise ShapeError(
                f"States of {type(self).__name__} need shape ({', '.join((*names, *map(str, expected)))}), "
                f"got {tuple(x.shape)}."
            )
        if x.dtype not in (torch.float32, torch.float64):
            raise DataError(
                f"States of {type(self).__name__} are solved in float32 or float64, got {x.dtype}. Convert them."
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

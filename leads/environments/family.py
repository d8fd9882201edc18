"""A family of environments: one system, many parameter values, and the splits on which methods are compared."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from leads.environments.system import System
from leads.errors import LeadsError, SettingsError, UnknownNameError
from leads.registry import Registry, nearest

families: Registry[Callable[..., EnvironmentFamily]] = Registry("family")
register = families.register


@dataclass(frozen=True)
class Budget:
    """Trajectories per environment in each data set."""

    train: int
    test: int
    valid: int = 8
    adapt: int = 1
    adapt_test: int = 32

    def __post_init__(self) -> None:
        for name, n in vars(self).items():
            if not isinstance(n, int) or n < 0:
                raise SettingsError(f"A budget counts trajectories: {name} must be a whole number >= 0, got {n!r}.")


@dataclass(frozen=True)
class Box:
    """A distribution of parameters: uniform inside ``[low, high]``; beyond it, inside the box stretched by ``stretch``.

    ``low`` and ``high`` have one entry a parameter; equal entries keep that parameter fixed.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    stretch: float = 1.5

    def inside(self, n: int, generator: np.random.RandomState) -> Tensor:
        """``n`` draws from the seen range, shape ``(n, P)``, float64."""
        return torch.from_numpy(generator.uniform(self.low, self.high, size=(n, len(self.low))))

    def outside(self, n: int, generator: np.random.RandomState, system: System) -> Tensor:
        """``n`` draws beyond the seen range (at least one parameter outside it) that stay admissible, ``(n, P)``."""
        low, high, wide_low, wide_high = self._ranges(system)
        if not bool(((wide_low < low) | (wide_high > high)).any()):
            raise SettingsError("The seen range already covers every admissible value: there is nothing beyond it.")
        rows: list[np.ndarray] = []
        while len(rows) < n:
            draw = generator.uniform(wide_low, wide_high)
            if ((draw < low) | (draw > high)).any():
                rows.append(draw)
        return torch.from_numpy(np.array(rows).reshape(n, len(low)))

    def shifted(self, n: int, generator: np.random.RandomState, system: System, index: int | None = None) -> Tensor:
        """``n`` draws inside the seen range but for one parameter, number ``index`` or any that can leave it."""
        low, high, wide_low, wide_high = self._ranges(system)
        room = np.maximum(low - wide_low, 0) + np.maximum(wide_high - high, 0)
        able = np.flatnonzero(room > 0)
        if not len(able) or (index is not None and index not in able):
            names = ", ".join(system.parameters[i].name for i in able) or "none"
            raise SettingsError(f"Only parameters that vary and can leave the seen range can shift: {names}.")
        rows = generator.uniform(self.low, self.high, size=(n, len(low)))
        for row in rows:
            i = index if index is not None else int(generator.choice(able))
            beyond = generator.uniform(0, room[i])
            below = max(low[i] - wide_low[i], 0.0)
            row[i] = low[i] - beyond if beyond < below else high[i] + (beyond - below)
        return torch.from_numpy(rows)

    def _ranges(self, system: System) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The seen range, and the stretched one cut to admissible values."""
        low, high = np.array(self.low, dtype=float), np.array(self.high, dtype=float)
        middle, half = (low + high) / 2, (high - low) / 2 * self.stretch
        floor = np.array([q.low for q in system.parameters])
        roof = np.array([q.high for q in system.parameters])
        return low, high, np.maximum(middle - half, floor), np.minimum(middle + half, roof)


@dataclass(frozen=True)
class EnvironmentFamily:
    """What ``leads.make`` returns.

    Attributes:
        name, split: how ``leads.make(name, split=split)`` finds it again; ``arguments`` holds further arguments.
        system: the equations.
        seen: parameters of the training environments, shape ``(E, P)``, float64.
        unseen: parameters of the environments to adapt to, shape ``(E', P)``, float64.
        times: times of training and adaptation data, shape ``(T,)``; the last published frame is ``dt`` before the horizon.
        test_times: times of test data; longer than ``times`` where the split tests beyond the training horizon.
        budget: trajectories per environment in each data set.
        distribution: draws fresh environments.
        shared_initial_states: whether all environments start from the same initial states, as published sets do.
        source: paper or code that the values come from, and what differs from it.
    """

    name: str
    split: str
    system: System
    seen: Tensor
    unseen: Tensor
    times: Tensor
    budget: Budget
    distribution: Box
    test_times: Tensor | None = None
    shared_initial_states: bool = True
    source: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.system.check_parameters(self.seen)
        if len(self.unseen):
            self.system.check_parameters(self.unseen)

    @property
    def horizon_times(self) -> Tensor:
        """Times of test data."""
        return self.times if self.test_times is None else self.test_times

    def sample(
        self,
        n: int,
        split: Literal["inside", "outside", "shift"],
        generator: np.random.RandomState | int,
        parameter: str | None = None,
    ) -> Tensor:
        """Draw ``n`` fresh environments: parameters ``(n, P)``, float64.

        Args:
            n: how many.
            split: ``"inside"`` the seen range (interpolation), ``"outside"`` it (extrapolation of one or more
                parameters), or ``"shift"``: outside it in one parameter alone, inside in all others.
            generator: NumPy's ``RandomState``, or a seed.
            parameter: which one shifts; by default each draw picks one of those that can.

        Raises:
            SettingsError: ``n`` below one, a parameter that does not exist, does not vary or cannot leave the range.
            UnknownNameError: unknown split.
        """
        if not isinstance(n, int) or n < 1:
            raise SettingsError(f"sample needs a whole number n >= 1 of environments, got {n!r}.")
        if not isinstance(generator, np.random.RandomState):
            if not isinstance(generator, int) or not 0 <= generator < 2**32:
                raise SettingsError(
                    f"sample draws from a numpy.random.RandomState or a seed from 0 to 2^32 - 1, got {generator!r}."
                )
            generator = np.random.RandomState(generator)
        if parameter is not None and split != "shift":
            raise SettingsError(f"A parameter is named for split='shift' alone, got split={split!r}.")
        if split == "inside":
            return self.distribution.inside(n, generator)
        if split == "outside":
            return self.distribution.outside(n, generator, self.system)
        if split == "shift":
            index = None if parameter is None else self.system.parameter_index(parameter)
            return self.distribution.shifted(n, generator, self.system, index)
        raise UnknownNameError(f"No split is named {split!r}. {nearest(str(split), ('inside', 'outside', 'shift'))}")


def choose_split(family: str, split: str, known: dict[str, Any]) -> Any:
    """The entry of ``known`` called ``split``; an unknown name is answered with the nearest known ones."""
    if not isinstance(split, str) or split not in known:
        raise UnknownNameError(f"The family {family!r} has no split {split!r}. {nearest(str(split), known)}")
    return known[split]


def make(
    name: str, *, frames: int | None = None, test_frames: int | None = None, **arguments: Any
) -> EnvironmentFamily:
    """Make the family called ``name``.

    Args:
        name: a registered name, see :func:`list_families`.
        frames: frames of training and adaptation data, the published distance apart; as published by default.
        test_frames: frames of test data; by default as published, but no fewer than ``frames``.
        arguments: the family's own arguments, for example ``split="coda"`` or ``size=64``.

    Raises:
        UnknownNameError: unknown family or split; the nearest known ones are offered.
        SettingsError: an argument that the family does not take, or a value that it cannot take.
    """
    factory = families[name]
    own = inspect.signature(factory).parameters
    central = {"frames": frames, "test_frames": test_frames}
    passed = arguments | {k: v for k, v in central.items() if k in own and v is not None}
    try:
        inspect.signature(factory).bind(**passed)
    except TypeError as error:
        raise SettingsError(f"The family {name!r} cannot be made with {passed}: {error}.") from error
    try:
        family = factory(**passed)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, LeadsError) or not passed:
            raise
        raise SettingsError(
            f"The family {name!r} cannot be made with {passed}: {str(error).splitlines()[0]}."
        ) from error
    wanted = {k: v for k, v in central.items() if k not in own and v is not None}
    return _with_frames(family, wanted) if wanted else family


def _with_frames(family: EnvironmentFamily, wanted: dict[str, int]) -> EnvironmentFamily:
    """The family on other numbers of frames, its own distance apart; tests never end before training does."""
    for key, n in wanted.items():
        if not isinstance(n, int) or n < 2:
            raise SettingsError(f"{key} must be a whole number of at least 2, got {n!r}.")
    first, dt = family.times[0], family.times[1] - family.times[0]
    frames = wanted.get("frames", len(family.times))
    test_frames = wanted.get("test_frames", max(frames, len(family.horizon_times)))
    if test_frames < frames:
        raise SettingsError(f"Tests of {test_frames} frames would end before training does ({frames} frames).")
    grid = first + dt * torch.arange(test_frames, dtype=torch.float64)
    return replace(family, times=grid[:frames], test_times=grid, arguments=family.arguments | wanted)


def list_families() -> list[str]:
    """Names of all registered families."""
    return list(families)

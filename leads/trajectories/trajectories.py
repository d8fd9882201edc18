"""What models see: states of many environments on one time grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from leads.environments import Channel, Grid, Parameter
from leads.errors import DataError, ShapeError
from leads.integrators import check_times
from leads.observation import Operator


@dataclass(frozen=True)
class Trajectories:
    """States of E environments, N trajectories each, at T common times.

    Attributes:
        states: shape ``(E, N, T, C, *X)``.
        times: shape ``(T,)``, strictly increasing, float64.
        parameters: true parameters ``(E, P)`` where known; models never see them, evaluation does.
        mask: ``True`` where observed, shape of ``states``; ``None`` when all is.
        channels, parameter_specs, grid: names and units.
        attributes: provenance (family, split, seed, fidelity, version ...), written to files.
        operator: what made these observations of full states, where they are such (:func:`leads.trajectories.observe`).

    Raises:
        ShapeError, DataError: at construction, for axes that do not fit, times that do not increase, or observed
            values that are NaN or infinite.
    """

    states: Tensor
    times: Tensor
    parameters: Tensor | None = None
    mask: Tensor | None = None
    channels: tuple[Channel, ...] = ()
    parameter_specs: tuple[Parameter, ...] = ()
    grid: Grid | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    operator: Operator | None = None

    def __post_init__(self) -> None:
        x, t = self.states, self.times
        if x.ndim < 4:
            raise ShapeError(f"States need shape (E, N, T, C, *X), at least four axes; got {tuple(x.shape)}.")
        if not x.is_floating_point():
            raise DataError(f"States must be floating point, got {x.dtype}. Convert them, e.g. states.float().")
        if t.ndim != 1 or t.shape[0] != x.shape[2]:
            raise ShapeError(f"Times have shape {tuple(t.shape)} but the states have T = {x.shape[2]} (axis 2).")
        check_times(t)
        if self.parameters is not None and self.parameters.shape[0] != x.shape[0]:
            raise ShapeError(
                f"Parameters cover {self.parameters.shape[0]} environments, the states {x.shape[0]} (axis 0)."
            )
        if self.channels and len(self.channels) != x.shape[3]:
            raise ShapeError(f"{len(self.channels)} channels are named but the states have C = {x.shape[3]} (axis 3).")
        if self.grid is not None and tuple(self.grid.shape) != tuple(x.shape[4:]):
            raise ShapeError(
                f"The grid has shape {self.grid.shape} but the states' space axes are {tuple(x.shape[4:])}."
            )
        if self.mask is not None and (self.mask.shape != x.shape or self.mask.dtype != torch.bool):
            raise ShapeError(
                f"The mask must be boolean with the shape of the states {tuple(x.shape)}, got {self.mask.dtype} "
                f"{tuple(self.mask.shape)}."
            )
        self._check_finite()

    def _check_finite(self) -> None:
        good = torch.isfinite(self.states)
        if self.mask is not None:
            good = good | ~self.mask
        if bool(good.all()):
            return
        e, n, k = (int(i) for i in (~good).nonzero()[0][:3])
        raise DataError(
            f"States contain NaN or infinite values, first in environment {e}, trajectory {n}, frame {k}. Drop that "
            "trajectory, or pass mask=torch.isfinite(states) to mark them as not observed."
        )

    @property
    def n_environments(self) -> int:
        return self.states.shape[0]

    @property
    def n_trajectories(self) -> int:
        return self.states.shape[1]

    @property
    def state_shape(self) -> tuple[int, ...]:
        """``(C, *X)``."""
        return tuple(self.states.shape[3:])

    @property
    def initial(self) -> Tensor:
        """First frames, shape ``(E, N, C, *X)``."""
        return self.states[:, :, 0]

    def first(self, history: int = 1) -> Tensor:
        """What a forecast with so many past frames starts from: :attr:`initial`, or for ``history > 1`` the first frames,
        shape ``(E, N, history, C, *X)``.

        Raises:
            ShapeError: fewer frames than that.
        """
        if len(self.times) < history:
            raise ShapeError(
                f"A forecast from {history} past frames needs T >= {history}, these trajectories have {len(self.times)}."
            )
        return self.initial if history == 1 else self.states[:, :, :history]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Trajectories:
        """Move the states (and cast them); times and parameters stay float64 on the CPU, where steps are counted."""
        mask = None if self.mask is None else self.mask.to(device)
        return replace(self, states=self.states.to(device=device, dtype=dtype), mask=mask)

    def select(
        self,
        environments: Sequence[int] | slice | None = None,
        trajectories: Sequence[int] | slice | None = None,
        frames: slice | None = None,
    ) -> Trajectories:
        """Some environments, trajectories or frames, all axes kept."""
        e = slice(None) if environments is None else environments
        n = slice(None) if trajectories is None else trajectories
        k = slice(None) if frames is None else frames
        cut = lambda x: x[e][:, n][:, :, k]  # noqa: E731
        return replace(
            self,
            states=cut(self.states),
            mask=None if self.mask is None else cut(self.mask),
            times=self.times[k],
            parameters=None if self.parameters is None else self.parameters[e],
            operator=self._operator_of(e),
        )

    def unlabelled(self) -> Trajectories:
        """Every trajectory as an environment of its own, ``(E N, 1, T, C, *X)``, and no parameters: labels unknown.

        Row i was trajectory ``i % N`` of environment ``i // N``.
        """
        alone = lambda x: x.flatten(0, 1).unsqueeze(1)  # noqa: E731
        mask = None if self.mask is None else alone(self.mask)
        rows = [e for e in range(self.n_environments) for _ in range(self.n_trajectories)]
        return replace(self, states=alone(self.states), mask=mask, parameters=None, operator=self._operator_of(rows))

    def _operator_of(self, environments: Sequence[int] | slice) -> Operator | None:
        """The operator of some environments."""
        if self.operator is None:
            return None
        every = range(self.n_environments)
        return self.operator.rows(every[environments] if isinstance(environments, slice) else environments)

    def __repr__(self) -> str:
        e, n, t, *shape = self.states.shape
        label = self.attributes.get("family", "trajectories")
        span = f"{float(self.times[0]):g}..{float(self.times[-1]):g}"
        return f"Trajectories({label}: E={e}, N={n}, T={t} ({span}), state {tuple(shape)}, {self.states.dtype})"


def require_trajectories(value: object, what: str) -> None:
    """Raise :class:`DataError` unless ``value`` is a :class:`Trajectories`; ``what`` it was given as."""
    if not isinstance(value, Trajectories):
        raise DataError(
            f"{what} needs leads.Trajectories, got {type(value).__name__}. leads.trajectories.from_arrays(states, times) makes them "
            "from arrays (E, N, T, C, *X), leads.trajectories.load from a file."
        )


def require_frames(data: Trajectories, history: int, what: str) -> None:
    """Raise :class:`ShapeError` where ``data``, called ``what``, have no frame after the first ``history``."""
    if len(data.times) <= history:
        needed = "two" if history == 1 else str(history + 1)
        raise ShapeError(f"The {what} have T = {len(data.times)} frame; at least {needed} are needed.")

"""What a context source is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from leads.adapters import Adapter, Context
from leads.errors import ShapeError
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments

#: Whole trajectories -> a loss of every environment, shape ``(E,)``.
Objective = Callable[[Segments], Tensor]


class Dynamics(Protocol):
    """What a source may ask of the model whose contexts it gives."""

    adapter: Adapter
    method: str
    history: int

    def with_adapter(self, adapter: Adapter) -> Dynamics:
        """The same dynamics around another adapter."""

    def residuals(self, segments: Segments, contexts: Context) -> Tensor:
        """Forecast minus data, zero where not observed, ``(E, N, L, C, *X)``."""

    def loss_per_environment(self, batch: Trajectories | Segments, contexts: Context) -> Tensor:
        """Data loss of every environment, shape ``(E,)``."""

    def adaptation_penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        """Penalty of every environment, shape ``(E,)``."""


class ContextSource(nn.Module, ABC):
    """Gives the contexts of the seen environments while training, and the starting ones of new environments.

    Attributes:
        complete: whether :meth:`new_contexts` are adapted already (an inner loop, an encoder), so that
            ``adapt(solver="auto")`` keeps them as they are.
        labelled: whether the environments of training and validation data are the same ones in the same order. Where
            they are not, validation trajectories find their contexts themselves.
        histories: whether it serves models that see past frames.
    """

    complete: bool = False
    labelled: bool = True
    histories: bool = True

    def check(self, data: Trajectories) -> None:
        """Refuse data of seen environments that this source cannot serve. Nothing by default."""
        del data

    @property
    def per_environment(self) -> bool:
        """Whether something is kept for each seen environment, so that it must come back while training."""
        return False

    def begin(self, data: Trajectories) -> None:
        """Take in what of the training data (scales, the distance of frames) becomes part of the model, before the first
        step. Nothing by default."""
        del data

    def pretext(self, data: Trajectories) -> Objective | None:
        """What this source is trained on by itself before the model is, or ``None`` where nothing is (any more)."""
        del data
        return None

    def end_pretext(self) -> None:
        """Called once the source was trained on :meth:`pretext`."""

    def penalty(self, support: Trajectories) -> Tensor:
        """What training adds to the data loss on the source's behalf: a scalar. Nothing by default."""
        return support.states.new_zeros(())

    #: Optimiser steps after which shared weights and contexts take turns (0: both move in every step).
    alternate: int = 0

    @abstractmethod
    def train_contexts(
        self,
        model: Dynamics,
        environments: Tensor | None,
        support: Trajectories,
        segments: Segments | None = None,
    ) -> Context:
        """Contexts of the seen environments with these indices ``(E,)`` (all where ``None``), stacked.

        Args:
            model: the dynamics that the contexts are for.
            environments: which rows of the seen environments ``support`` holds.
            support: what is known of them.
            segments: how ``support`` is cut where a loss on it is taken; whole trajectories where ``None``.

        Returns:
            Contexts through which gradients flow to whatever they depend on, unless gradients are off.
        """

    @abstractmethod
    def new_contexts(self, model: Dynamics, support: Trajectories) -> Context:
        """Contexts of the environments in ``support``, never seen, from which their adaptation starts; stacked.

        They carry no gradient.
        """


def match_rows(environments: Tensor | None, support: Trajectories) -> None:
    """Refuse a support of another number of environments than are asked for.

    Raises:
        ShapeError: they differ.
    """
    if environments is not None and len(environments) != support.n_environments:
        raise ShapeError(
            f"{len(environments)} environments are asked for, the support holds {support.n_environments} (axis 0)."
        )


def stacked_start(adapter: Adapter, environments: int) -> Context:
    """The adapter's starting point for each of ``environments``, drawn anew where it is random."""
    rows = [adapter.init_context() for _ in range(environments)]
    return {name: torch.stack([r[name].detach() for r in rows]) for name in rows[0]}

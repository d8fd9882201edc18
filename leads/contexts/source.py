"""What a context source is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from leads.adapters import Context
from leads.trajectories import Trajectories


class ContextSource(nn.Module, ABC):
    """Gives the contexts of the seen environments while training, and the starting ones of new environments."""

    #: Optimiser steps after which shared weights and contexts take turns (0: both move in every step).
    alternate: int = 0

    @abstractmethod
    def train_contexts(self, environments: Tensor | None, support: Trajectories) -> Context:
        """Contexts of the seen environments with these indices ``(E,)`` (all where ``None``), stacked."""

    @abstractmethod
    def new_contexts(self, support: Trajectories) -> Context:
        """Contexts of the environments in ``support``, never seen, from which their adaptation starts; stacked."""

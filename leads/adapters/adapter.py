"""What a context changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from leads.backbones import Backbone
from leads.registry import Registry
from leads.trajectories import Trajectories

#: What differs between environments. One environment has no leading axis; many are stacked along a leading E.
Context = dict[str, Tensor]
MakeBackbone = Callable[[], Backbone]

adapters: Registry[Callable[..., Adapter]] = Registry("adapter")


class Adapter(nn.Module, ABC):
    """Turns a context into a vector field. Its parameters are the shared ones.

    :meth:`init_context`, :meth:`prepare` and :meth:`forward` are written for ONE environment; :meth:`prepare_all`
    and :meth:`forward_all` batch them by ``vmap`` and may be overridden by something faster
    (``leads.testing.check_adapter`` holds the two equal).
    """

    #: Entries of a context that come with the data: see :meth:`given`.
    known: tuple[str, ...] = ()
    #: Whether the field is affine in the context, so that contexts can be found in closed form.
    affine: bool = False
    #: Whether contexts may come with the point around which the field is expanded in them.
    expands: bool = False

    @property
    def state_shape(self) -> tuple[int, ...] | None:
        """``(C, *X)`` of the states that it takes, where a network in it tells."""
        return next((m.state_shape for m in self.modules() if isinstance(m, Backbone)), None)

    @abstractmethod
    def init_context(self) -> Context:
        """The starting point of one environment; it gives the shared model where the method has one."""

    @abstractmethod
    def prepare(self, context: Context) -> Any:
        """What is computed once per rollout, e.g. effective weights."""

    @abstractmethod
    def forward(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        """``dx/dt`` at every solver stage: ``x`` of shape ``(N, C, *X)``."""

    def prepare_all(self, contexts: Context) -> Any:
        """:meth:`prepare` for contexts stacked along a leading E."""
        return vmap(self.prepare)(contexts)

    def forward_all(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        """:meth:`forward` for ``x`` of shape ``(E, N, C, *X)``."""
        return vmap(lambda y, q: self.forward(t, y, q))(x, prepared)

    def passes(self, prepared: Any) -> Any:
        """The field's written-out way back (see :mod:`leads.integrators.written`), or ``None`` where there is none."""
        del prepared
        return None

    def given(self, parameters: Tensor | None) -> Context:
        """The ``known`` entries of contexts, never trained and never adapted, from the data's parameters ``(E, P)``."""
        del parameters
        return {}

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        """What training adds to the data loss: a scalar. Nothing by default."""
        return batch.states.new_zeros(())

    def adaptation_penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        """What the adaptation to new environments adds to each one's loss, shape ``(E,)``. Nothing by default."""
        return batch.states.new_zeros(batch.n_environments)

    def after_step(self, data_loss: Tensor) -> None:
        """Called after every optimiser step, for multipliers that follow the loss."""


class WeightAdapter(Adapter):
    """An adapter whose contexts change the weights of one backbone.

    A subclass gives :meth:`effective`; every backbone, with its own batched form, is then served alike.
    """

    def __init__(self, make_backbone: MakeBackbone) -> None:
        super().__init__()
        self.backbone = make_backbone()

    @abstractmethod
    def effective(self, context: Context) -> dict[str, Tensor]:
        """The weights of the backbone in one environment, by name."""

    def prepare(self, context: Context) -> dict[str, Tensor]:
        return self.effective(context)

    def forward(self, t: Tensor, x: Tensor, prepared: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(self.backbone, prepared, (t, x))

    def prepare_all(self, contexts: Context) -> Any:
        return self.backbone.ready(vmap(self.effective)(contexts))

    def forward_all(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        return self.backbone.batched(prepared, t, x)

    def passes(self, prepared: Any) -> Any:
        # An adapter with a field of its own has no way back until it writes one.
        own = type(self).forward_all is not WeightAdapter.forward_all
        return None if own else self.backbone.passes(prepared)

"""The stage before the training: a context source that learns on its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from leads.adapters import Adapter, Context
from leads.contexts import ContextSource, Dynamics, Objective
from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError
from leads.training.settings import TrainerSettings
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, whole


class SourceTraining(DecomposedDynamics):
    """A source as a model without dynamics, whose loss is the source's own: the ordinary loop trains it."""

    def __init__(self, source: ContextSource, objective: Objective) -> None:
        super().__init__(_Nothing(), _NoContexts())
        self.trained, self.objective = source, objective

    def loss_per_environment(self, batch: Trajectories | Segments, contexts: Context) -> Tensor:
        del contexts
        loss = self.objective(whole(batch) if isinstance(batch, Trajectories) else batch)
        bad = ~torch.isfinite(loss)
        if torch.is_grad_enabled() and bool(bad.any()):
            raise DivergenceError(
                f"The objective of the context source left the finite numbers in environment {int(bad.nonzero()[0])}, before "
                "the model's own training. Lower its learning rate (context_lr), or look for extreme values in the data."
            )
        return loss


def source_settings(settings: TrainerSettings) -> TrainerSettings:
    """The settings of the stage: whole trajectories, all seen environments, its own number of steps, and the rate of contexts."""
    return replace(
        settings,
        steps=settings.source_steps or settings.steps,
        lr=settings.context_lr or settings.lr,
        context_lr=None,
        horizons=(0,),
        shares=(),
        scheduled_sampling=None,
        alternate=0,
        proximal=0.0,
        support=0,
        support_frames=0,
        environments_per_step=0,
        fresh_environments=0,
    )


class _Nothing(Adapter):
    """An adapter without a network."""

    def init_context(self) -> Context:
        return {}

    def prepare(self, context: Context) -> None:
        del context

    def forward(self, t: Tensor, x: Tensor, prepared: None) -> Tensor:
        raise NotImplementedError("A source in training has no dynamics.")


class _NoContexts(ContextSource):
    def train_contexts(
        self, model: Dynamics, environments: Tensor | None, support: Trajectories, segments: Segments | None = None
    ) -> Context:
        del model, environments, support, segments
        return {}

    def new_contexts(self, model: Dynamics, support: Trajectories) -> Context:
        del model, support
        return {}

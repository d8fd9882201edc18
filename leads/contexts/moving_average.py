"""Contexts found by gradient steps on a moving average of the model."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from leads.adapters import Adapter, Context
from leads.contexts.inner_loop import InnerLoop, common_start
from leads.contexts.source import Dynamics, match_rows
from leads.errors import SettingsError
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments


class MovingAverage(InnerLoop):
    """``c_e <- c_e - a grad_c L_e(support; theta_bar, c_e)``, ``steps`` times, with ``theta_bar`` trailing the model:

        theta_bar <- (1 - rate) theta_bar + rate theta

    at every call under gradients, that is, once per training step. Contexts then count as constants: the query's loss
    trains theta with them fixed, and no gradient flows through the inner steps (nor to their start). New environments
    are fitted to the average too; forecasts are the model's own.

    Args:
        adapter: the adapter whose contexts are found; all environments start from its one initial context.
        steps: gradient steps while training.
        lr: step size a.
        rate: of the average; 1 is the model itself.
        new_steps: gradient steps in a new environment.

    Raises:
        SettingsError: at construction, for settings out of range or an adapter that starts at random.
        DivergenceError: at use, where the steps leave the finite numbers; names the environment.

    Source: Park et al. (2023), "Generalizing to new dynamical systems through first-order context-based adaptation".
    """

    def __init__(
        self, adapter: Adapter, steps: int = 5, lr: float = 1.0, rate: float = 0.1, new_steps: int = 100
    ) -> None:
        if not 0 < rate <= 1 or new_steps < 1:
            raise SettingsError(
                f"A moving average needs 0 < rate <= 1 and new_steps >= 1, got rate={rate}, new_steps={new_steps}."
            )
        if not common_start(adapter):
            raise SettingsError(
                f"{type(adapter).__name__} draws its starting contexts at random, and a moving average of the model has "
                "no gradient that could train a common one. Use an InnerLoop with learn_start=True, or a table."
            )
        super().__init__(adapter, steps, lr, first_order=True)
        self.rate, self.new_steps = rate, new_steps
        self.target = copy.deepcopy(adapter).requires_grad_(False)

    def train_contexts(
        self, model: Dynamics, environments: Tensor | None, support: Trajectories, segments: Segments | None = None
    ) -> Context:
        match_rows(environments, support)
        if torch.is_grad_enabled():
            self.follow(model.adapter)
        cut = support if segments is None else segments
        contexts = self._find(model.with_adapter(self.target), support, cut, False, self.steps)
        self._check(contexts, self.steps, environments)
        return contexts

    def new_contexts(self, model: Dynamics, support: Trajectories) -> Context:
        contexts = self._find(model.with_adapter(self.target), support, support, False, self.new_steps)
        self._check(contexts, self.new_steps)
        return contexts

    @torch.no_grad()
    def follow(self, adapter: Adapter) -> None:
        """Move the average towards ``adapter``; what is not trained (a multiplier) is taken over."""
        torch._foreach_lerp_([*self.target.parameters()], [p.detach() for p in adapter.parameters()], self.rate)
        for mine, live in zip(self.target.buffers(), adapter.buffers(), strict=True):
            mine.copy_(live)

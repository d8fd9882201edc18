"""Contexts found by a few gradient steps on the support."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leads.adapters import Adapter, Context
from leads.contexts.source import ContextSource, Dynamics, match_rows, stacked_start
from leads.errors import DivergenceError, SettingsError
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments


class InnerLoop(ContextSource):
    """``c_e <- c_e - a * grad_c [ L_e(support; theta, c_e) + penalty_e(c_e) ]``, ``steps`` times from a common start.

    Training differentiates the query's loss through these steps, second derivatives included; all environments step
    together, and none depends on those beside it. With no step, every seen environment has the starting context and
    training is that of the shared model; a new environment is then left to ``adapt``.

    A rate that suits one loss need not suit another: new environments step on whole trajectories, so training should
    end there too (``horizons`` ending in 0, as by default).

    Args:
        adapter: the adapter whose contexts are found.
        steps: gradient steps, while training and in a new environment.
        lr: step size a.
        first_order: leave second derivatives out: the inner gradient counts as a constant. It costs less, and stands
            less: a larger a can diverge where second order does not.
        learn_rates: a is trained too, one for every value of the context, from ``lr``.
        learn_start: the starting context is trained too. Needed where the adapter draws it at random.

    Raises:
        SettingsError: at construction, for settings out of range or an adapter without a common start.
        DivergenceError: at use, where the steps leave the finite numbers; names the environment.

    Sources: Finn et al. (2017), MAML, Algorithm 1 (support and query) and section 5.2 (first order); Li et al. (2017),
    Meta-SGD, section 3 (learned rates); Zintgraf et al. (2019), CAVIA, section 3 (small contexts).
    """

    def __init__(
        self,
        adapter: Adapter,
        steps: int = 1,
        lr: float = 0.01,
        first_order: bool = False,
        learn_rates: bool = False,
        learn_start: bool = False,
    ) -> None:
        super().__init__()
        if steps < 0 or not lr > 0:
            raise SettingsError(f"An inner loop needs steps >= 0 and lr > 0, got steps={steps}, lr={lr}.")
        if learn_rates and not steps:
            raise SettingsError("learn_rates=True has no effect without steps: give steps >= 1.")
        one = adapter.init_context()
        if not learn_start and not common_start(adapter):
            raise SettingsError(
                f"{type(adapter).__name__} draws its starting contexts at random, so environments would have no start "
                "in common. Use learn_start=True, which trains one."
            )
        self.steps, self.lr, self.first_order = steps, lr, first_order
        self.complete = steps > 0
        slashed = {k.replace(".", "/"): v.detach() for k, v in one.items()}  # a ParameterDict refuses dots
        rates = {k: nn.Parameter(torch.full_like(v, lr)) for k, v in slashed.items()} if learn_rates else {}
        start = {k: nn.Parameter(v.clone()) for k, v in slashed.items()} if learn_start else {}
        self.rates, self.start = nn.ParameterDict(rates), nn.ParameterDict(start)

    def train_contexts(
        self, model: Dynamics, environments: Tensor | None, support: Trajectories, segments: Segments | None = None
    ) -> Context:
        match_rows(environments, support)
        cut = support if segments is None else segments
        contexts = self._find(model, support, cut, torch.is_grad_enabled(), self.steps)
        self._check(contexts, self.steps, environments)
        return contexts

    def new_contexts(self, model: Dynamics, support: Trajectories) -> Context:
        contexts = self._find(model, support, support, False, self.steps)
        self._check(contexts, self.steps)
        return contexts

    @torch.enable_grad()
    def _find(
        self, model: Dynamics, support: Trajectories, cut: Trajectories | Segments, outer: bool, steps: int
    ) -> Context:
        """``steps`` steps; gradients flow through them where ``outer``."""
        contexts = {k: v if outer else v.detach() for k, v in self._start(model, support.n_environments).items()}
        given = model.adapter.given(support.parameters)
        second = outer and not self.first_order
        for _ in range(steps if contexts else 0):
            here = {k: v if v.requires_grad else v.requires_grad_() for k, v in contexts.items()}
            whole = {**here, **given}
            loss = model.loss_per_environment(cut, whole) + model.adaptation_penalty(whole, support)
            gradients = torch.autograd.grad(loss.sum(), list(here.values()), create_graph=second)
            moves = dict(zip(here, gradients, strict=True))
            contexts = {k: v - self._rate(k) * moves[k] for k, v in here.items()}
            if not outer:
                contexts = {k: v.detach() for k, v in contexts.items()}
        return {**contexts, **given}

    def _start(self, model: Dynamics, environments: int) -> Context:
        if self.start:
            return {k.replace("/", "."): v.expand(environments, *v.shape) for k, v in self.start.items()}
        one = stacked_start(model.adapter, 1)
        return {k: v.expand(environments, *v.shape[1:]).clone() for k, v in one.items()}

    def _rate(self, name: str) -> Tensor | float:
        return self.rates[name.replace(".", "/")] if self.rates else self.lr

    def _check(self, contexts: Context, steps: int, environments: Tensor | None = None) -> None:
        if not steps:
            return
        for value in contexts.values():
            good = torch.isfinite(value.detach()).flatten(1).all(1)
            if not bool(good.all()):
                row = int((~good).nonzero()[0])
                e = row if environments is None else int(environments[row])
                raise DivergenceError(
                    f"The inner loop of environment {e} left the finite numbers. Lower its rate "
                    f"(lr={self.lr}) or its number of steps ({steps})"
                    f"{', or use first_order=False' if self.first_order else ''}."
                )


def common_start(adapter: Adapter) -> bool:
    """Whether the adapter starts all environments alike, rather than drawing each start at random."""
    one, other = adapter.init_context(), adapter.init_context()
    return all(torch.equal(one[k], other[k]) for k in one)

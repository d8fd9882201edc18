"""Contexts of environments whose labels are unknown: which trajectory belongs where is found while training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from leads.adapters import Adapter, Context
from leads.contexts.flat import flatten, unflatten
from leads.contexts.kmeans import kmeans
from leads.contexts.source import ContextSource, Dynamics, match_rows, stacked_start
from leads.errors import SettingsError, ShapeError
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, whole


class HiddenLabels(ContextSource):
    """K contexts for the rows of data whose environments are unknown; assigning rows and training take turns:

        label_i <- argmin_k L_i(theta, c_k)          every ``every`` training steps, on that step's support
        theta, c <- gradient steps on sum_i L_i(theta, c_{label_i})

    A row (axis 0 of the data) is a trajectory, or several that are known to share an environment;
    :meth:`leads.trajectories.Trajectories.unlabelled` makes every trajectory a row. In the first ``warmup`` training steps
    each row has a context of its own, all from one start; k-means then makes K of them. An environment that loses all
    its rows is given the one that is forecast worst.

    A row holds one vector of numbers, and the context of an environment is the mean over its rows, so nothing is left
    over when labels change. Rows of validation and of later data are given the environment that fits them best, without
    changing the labels. New environments start from the one that fits them best.

    Args:
        adapter: the adapter whose contexts are found. Penalties count each row once, not each environment.
        rows: rows of the training data.
        environments: K.
        warmup: training steps with one context per row, at least 1.
        every: training steps between assignments.
        seed: of k-means.

    Attributes:
        labels: environment of each row, shape ``(rows,)``; the row's own number during the warm-up. Saved with the
            model.

    Raises:
        SettingsError: at construction, for settings out of range, an adapter without context, or one that is given
            parameters of each environment, which nobody knows here.
        ShapeError: at use, for training data of another number of rows.

    Source: Liu et al. (2025), "Environment inference for learning generalizable dynamical system", whose labels start
    with the forecasts of random networks and are assigned anew in every step; the warm-up and the refill are ours.
    """

    labelled = False
    per_environment = True
    labels: Tensor
    calls: Tensor

    def __init__(
        self, adapter: Adapter, rows: int, environments: int, warmup: int = 100, every: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        if not 1 <= environments <= rows:
            raise SettingsError(
                f"{rows} rows of data can be of 1 to {rows} environments, not of {environments}. Give every trajectory "
                "its row: Trajectories.unlabelled()."
            )
        if warmup < 1 or every < 1:
            raise SettingsError(f"Hidden labels need warmup >= 1 and every >= 1, got {warmup} and {every}.")
        if adapter.known:
            raise SettingsError(
                f"{type(adapter).__name__} is given parameters of each environment, but here it is not known which "
                "environment a trajectory is from. Make these parameters shared or own."
            )
        self.rows, self.environments, self.warmup, self.every, self.seed = rows, environments, warmup, every, seed
        start = stacked_start(adapter, 1)
        if not start:
            raise SettingsError(
                f"{type(adapter).__name__} has no context, so environments cannot be told apart. Use another adapter."
            )
        self.values = nn.ParameterDict(
            {k.replace(".", "/"): nn.Parameter(v.expand(rows, *v.shape[1:]).clone()) for k, v in start.items()}
        )
        self.register_buffer("labels", torch.arange(rows))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def contexts(self) -> Context:
        """The contexts of all environments, stacked along K (along the rows during the warm-up)."""
        member = nn.functional.one_hot(self.labels).mT
        return {
            name.replace("/", "."): torch.tensordot((member / member.sum(1, keepdim=True)).to(value), value, 1)
            for name, value in self.values.items()
        }

    def train_contexts(
        self, model: Dynamics, environments: Tensor | None, support: Trajectories, segments: Segments | None = None
    ) -> Context:
        cut = whole(support, model.history) if segments is None else segments
        if not torch.is_grad_enabled():
            return self._nearest(model, cut)
        if environments is None and support.n_environments != self.rows:
            raise ShapeError(
                f"The model was built for {self.rows} rows of data, these have {support.n_environments} (axis 0). Build "
                f"it like these data: every trajectory is a row of Trajectories.unlabelled()."
            )
        match_rows(environments, support)
        here = torch.arange(self.rows) if environments is None else environments
        here = here.to(self.labels.device)
        self._assign(model, cut, here)
        return {k: v[self.labels[here]] for k, v in self.contexts().items()}

    def new_contexts(self, model: Dynamics, support: Trajectories) -> Context:
        return {k: v.clone() for k, v in self._nearest(model, whole(support, model.history)).items()}

    @torch.no_grad()
    def _nearest(self, model: Dynamics, cut: Segments) -> Context:
        candidates = {k: v.detach() for k, v in self.contexts().items()}
        best = errors_of_each(model, cut, candidates).argmin(1)
        return {k: v[best] for k, v in candidates.items()}

    @torch.no_grad()
    def _assign(self, model: Dynamics, cut: Segments, here: Tensor) -> None:
        """The turn of the labels, where it is theirs: those of the rows ``here``, which ``cut`` holds."""
        since = int(self.calls) - self.warmup
        self.calls += 1
        if since < 0 or since % self.every:
            return
        contexts = self.contexts()
        if since == 0:
            flat, here = flatten(contexts).double(), torch.arange(self.rows, device=self.labels.device)
            centres = kmeans(flat, self.environments, seed=self.seed)[1]
            contexts = {k: v.to(contexts[k]) for k, v in unflatten(centres, contexts).items()}
            errors = torch.cdist(flat, centres)
        else:
            errors = errors_of_each(model, cut, contexts)
        nearest, labels = _assigned(errors, self.labels, here)
        self.labels.copy_(labels)
        for name, value in self.values.items():
            value.copy_(contexts[name.replace("/", ".")][nearest])


@torch.no_grad()
def errors_of_each(model: Dynamics, cut: Segments, candidates: Context) -> Tensor:
    """Mean square error of every row of the data with every candidate context, shape ``(E, K)``.

    One rollout: each candidate forecasts all rows. Forecasts that are not finite count as infinitely wrong.
    """
    e, m = cut.initial.shape[:2]
    k = next(iter(candidates.values())).shape[0]
    every = lambda v: v.flatten(0, 1).unsqueeze(0).expand(k, e * m, *v.shape[2:])  # noqa: E731
    times = cut.times if cut.times.ndim == 1 else cut.times.expand(-1, 1, m).repeat(1, 1, e)
    observed = None if cut.observed is None else cut.observed.expand(e, m, *cut.observed.shape[2:])
    many = Segments(every(cut.initial), every(cut.target), times, None if observed is None else every(observed))
    square = model.residuals(many, candidates).square().reshape(k, e, -1).sum(2)
    return torch.nan_to_num((square / cut.count(cut.target)).mT, nan=math.inf, posinf=math.inf)


def _assigned(errors: Tensor, labels: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
    """From errors ``(rows here, K)``: every row's environment of lowest error (the one it has, if it is not here), and
    the labels, both ``(rows,)``.

    They differ where an environment would have no rows: it takes the one here that is forecast worst, of those that are
    not alone in theirs, or another where there is none.
    """
    nearest, worst = labels.clone(), torch.full(labels.shape, -1.0, dtype=errors.dtype, device=errors.device)
    worst[here], nearest[here] = errors.min(1)
    labels, sizes = nearest.clone(), torch.bincount(nearest, minlength=errors.shape[1])
    for empty in (sizes == 0).nonzero()[:, 0].tolist():
        row = int(torch.where(sizes[labels] > 1, worst, -math.inf).argmax())
        sizes[labels[row]] -= 1
        sizes[empty], labels[row], worst[row] = 1, empty, -math.inf
    return nearest, labels

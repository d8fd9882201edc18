"""One learned context per seen environment."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from leads.adapters import Adapter, Context
from leads.contexts.source import ContextSource, Dynamics, stacked_start
from leads.errors import SettingsError, ShapeError
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments


class Table(ContextSource):
    """A table with one row per seen environment, learned together with the shared weights.

    Args:
        adapter: gives the starting contexts.
        environments: number of seen environments.
        start: where new environments start: ``"init"`` (the adapter's own starting point) or ``"mean"`` (the mean of
            the seen environments' contexts, as GEPS does).
    """

    def __init__(self, adapter: Adapter, environments: int, start: Literal["init", "mean"] = "init") -> None:
        super().__init__()
        if environments < 1:
            raise SettingsError(f"A table needs at least one environment, got {environments}.")
        if start not in ("init", "mean"):
            raise SettingsError(f"start must be 'init' or 'mean', got {start!r}.")
        self.environments, self.start = environments, start
        self.values = nn.ParameterDict(
            {k.replace(".", "/"): nn.Parameter(v) for k, v in stacked_start(adapter, environments).items()}
        )

    def table(self) -> Context:
        """All rows, stacked along E."""
        return {name.replace("/", "."): value for name, value in self.values.items()}

    @property
    def per_environment(self) -> bool:
        return len(self.values) > 0

    def check(self, data: Trajectories) -> None:
        if data.n_environments != self.environments:
            raise ShapeError(
                f"The model was built for {self.environments} environments, the data have {data.n_environments} "
                f"(axis 0). Build the model with environments={data.n_environments}."
            )

    def train_contexts(
        self, model: Dynamics, environments: Tensor | None, support: Trajectories, segments: Segments | None = None
    ) -> Context:
        del segments
        if environments is None:
            if self.per_environment:
                self.check(support)
            return {**self.table(), **model.adapter.given(support.parameters)}
        rows = {name: value[environments] for name, value in self.table().items()}
        return {**rows, **model.adapter.given(support.parameters)}

    def new_contexts(self, model: Dynamics, support: Trajectories) -> Context:
        n, given = support.n_environments, model.adapter.given(support.parameters)
        if self.start == "mean":
            mean = {k: v.detach().mean(0, keepdim=True) for k, v in self.table().items()}
            return {**{k: v.expand(n, *v.shape[1:]).clone() for k, v in mean.items()}, **given}
        return {**stacked_start(model.adapter, n), **given}

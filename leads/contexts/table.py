"""One learned context per seen environment."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from leads.adapters import Adapter, Context
from leads.contexts.source import ContextSource
from leads.errors import SettingsError, ShapeError
from leads.trajectories import Trajectories


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
        rows = [adapter.init_context() for _ in range(environments)]
        # The adapter belongs to the model; a plain tuple keeps this reference out of our own parameters.
        self._adapter = (adapter,)
        self.values = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(torch.stack([r[name] for r in rows])) for name in rows[0]}
        )

    def table(self) -> Context:
        """All rows, stacked along E."""
        return {name.replace("/", "."): value for name, value in self.values.items()}

    def train_contexts(self, environments: Tensor | None, support: Trajectories) -> Context:
        if environments is None:
            if support.n_environments != self.environments:
                raise ShapeError(
                    f"The model was built for {self.environments} environments, the data have "
                    f"{support.n_environments} (axis 0). Build the model with environments={support.n_environments}."
                )
            return {**self.table(), **self._adapter[0].given(support.parameters)}
        rows = {name: value[environments] for name, value in self.table().items()}
        return {**rows, **self._adapter[0].given(support.parameters)}

    def new_contexts(self, support: Trajectories) -> Context:
        n, given = support.n_environments, self._adapter[0].given(support.parameters)
        if self.start == "mean":
            mean = {k: v.detach().mean(0, keepdim=True) for k, v in self.table().items()}
            return {**{k: v.expand(n, *v.shape[1:]).clone() for k, v in mean.items()}, **given}
        rows = [self._adapter[0].init_context() for _ in range(n)]
        return {**{name: torch.stack([r[name] for r in rows]) for name in rows[0]}, **given}

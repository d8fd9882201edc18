"""An adapter that holds a part of its contexts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from leads.adapters.adapter import Adapter, Context
from leads.trajectories import Trajectories


class Pinned(Adapter):
    """Another adapter, with some entries of its contexts held at ``entries`` (stacked along E) while the others are fitted.

    It is for stacked contexts alone. Where they have k E rows, each environment's held values serve its k rows.
    """

    def __init__(self, adapter: Adapter, entries: Context) -> None:
        super().__init__()
        self.adapter, self.entries = adapter, entries

    def init_context(self) -> Context:
        return self.adapter.init_context()

    def prepare(self, context: Context) -> Any:
        raise NotImplementedError("Pinned contexts are those of particular environments; use prepare_all.")

    def forward(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        return self.adapter.forward(t, x, prepared)

    def prepare_all(self, contexts: Context) -> Any:
        return self.adapter.prepare_all(self.whole(contexts))

    def forward_all(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        return self.adapter.forward_all(t, x, prepared)

    def adaptation_penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        return self.adapter.adaptation_penalty(self.whole(contexts), batch)

    def whole(self, contexts: Context) -> Context:
        """``contexts`` with the held entries."""
        rows = next(iter(contexts.values())).shape[0]
        like = next(iter(contexts.values()))
        held = {k: v.repeat_interleave(rows // v.shape[0], 0).to(like) for k, v in self.entries.items()}
        return {**contexts, **held}

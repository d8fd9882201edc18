"""Nothing differs between environments."""

from __future__ import annotations

from torch import Tensor

from leads.adapters.adapter import Adapter, Context, MakeBackbone, adapters
from leads.backbones import Backbone


@adapters.register("shared")
class Shared(Adapter):
    """One network for all environments; the context is empty."""

    affine = True

    def __init__(self, make_backbone: MakeBackbone) -> None:
        super().__init__()
        self.backbone = make_backbone()

    def init_context(self) -> Context:
        return {}

    def prepare(self, context: Context) -> None:
        del context

    def forward(self, t: Tensor, x: Tensor, prepared: None) -> Tensor:
        return self.backbone(t, x)

    def prepare_all(self, contexts: Context) -> object:
        del contexts
        return self.backbone.ready({k: w.unsqueeze(0) for k, w in self.backbone.own_weights().items()})

    def forward_all(self, t: Tensor, x: Tensor, prepared: object) -> Tensor:
        return forward_shared(self.backbone, prepared, t, x)


def forward_shared(backbone: Backbone, ready: object, t: Tensor, x: Tensor) -> Tensor:
    """One set of weights for all environments: ``x`` of shape ``(E, N, *S)`` is taken as one environment of E N rows."""
    if t.ndim:
        t = t.expand(x.shape[:2]).reshape(1, -1)
    return backbone.batched(ready, t, x.flatten(0, 1).unsqueeze(0)).reshape(x.shape)

"""Everything differs between environments."""

from __future__ import annotations

from torch import Tensor

from leads.adapters.adapter import Context, MakeBackbone, WeightAdapter, adapters


@adapters.register("separate")
class Separate(WeightAdapter):
    """One network per environment: the context is all of its weights, and nothing is shared."""

    def __init__(self, make_backbone: MakeBackbone) -> None:
        super().__init__(make_backbone)
        self.make_backbone = make_backbone
        # The template only lends its forward; its own values are never used, so they must not be trained.
        self.backbone.requires_grad_(False)

    def init_context(self) -> Context:
        """Freshly drawn weights (from torch's generator), other ones at every call."""
        return {k: w.detach().clone() for k, w in self.make_backbone().own_weights().items()}

    def effective(self, context: Context) -> dict[str, Tensor]:
        return context

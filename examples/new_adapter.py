"""An adapter of your own, with an algorithm that uses it: every environment shifts the biases."""

import sys

import torch

import leads
from leads.adapters import Context, WeightAdapter
from leads.adapters.adapter import adapters
from leads.algorithms import register
from leads.backbones import backbones
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics
from leads.testing import check_adapter


@adapters.register("bias_shift")
class BiasShift(WeightAdapter):
    """``b_e = b + s_e``; all other weights are shared."""

    def init_context(self) -> Context:
        return {k: torch.zeros_like(w) for k, w in self.backbone.named_parameters() if k.endswith("bias")}

    def effective(self, context: Context) -> dict[str, torch.Tensor]:
        weights = self.backbone.own_weights()
        return {**weights, **{k: weights[k] + s for k, s in context.items()}}


@register("bias_shift")
def bias_shift(make_backbone, environments: int, **integrator) -> DecomposedDynamics:  # type: ignore[no-untyped-def]
    adapter = BiasShift(make_backbone)
    return DecomposedDynamics(adapter, Table(adapter, environments), **integrator)


check_adapter(BiasShift, lambda: backbones["mlp"]((2,), width=8))
family = leads.make("lotka_volterra")
data = leads.generate(family)
model = leads.build("bias_shift", family, backbone_settings={"width": 32})
leads.fit(model, data.train, data.valid, steps=int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
adapted = leads.adapt(model, data.adapt, solver="gradient", steps=int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
print(leads.evaluate(adapted, data.adapt_test))

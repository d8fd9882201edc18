"""Read the environment off five frames: an encoder trained first on two known parameters, then a forecaster steered by it.

Adapting to a new environment is one forward pass, and says which parameters the encoder sees there.
"""

import sys
from dataclasses import replace

import leads
from leads.environments import Budget

family = leads.make("lotka_volterra")
data = leads.generate(replace(family, budget=Budget(train=4, test=8, valid=4, adapt=1, adapt_test=8)))
model = leads.build(
    "dyad",
    data.train,
    label=["beta", "delta"],
    dim=16,
    encoder_width=64,
    encoder_depth=2,
    windows=16,
    backbone_settings={"width": 32},
)
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 400
leads.fit(model, data.train, data.valid, steps=steps, source_steps=steps, lr=1e-2, average=0.98, validate_every=100)

adapted = leads.adapt(model, data.adapt)
print("solver:", adapted.info["solver"], f"({adapted.info['seconds'] * 1e3:.0f} ms)")
for seen, (_, beta, _, delta) in zip(
    model.source.predict(data.adapt).tolist(), data.adapt.parameters.tolist(), strict=True
):
    print(f"beta {seen[0]:.2f} (truth {beta:.3f})   delta {seen[1]:.2f} (truth {delta:.3f})")
print(leads.evaluate(adapted, data.adapt_test))

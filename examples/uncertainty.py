"""Error bars that hold, a warning outside the seen range, and what to observe next."""

import sys

import leads
from leads.evaluation import reliability

family = leads.make("lotka_volterra")
data = leads.generate(family)
model = leads.build("coda", family, backbone_settings={"width": 32}, spread=0.1, context_penalty=1e-6)
leads.fit(model, data.train, data.valid, steps=int(sys.argv[1]) if len(sys.argv) > 1 else 3000, average=0.998)

# Fresh environments of the seen range, one trajectory to adapt to and four to forecast: how wrong were the error bars?
support, truth = leads.held_out_environments(family, 100, support=1, truth=4, seed=1)
calibration = leads.calibrate(model, support, truth)

# Bands on environments that neither training nor calibration has seen.
support, truth = leads.held_out_environments(family, 50, support=1, truth=4, seed=2)
adapted = leads.adapt(model, support)
for name, use in (("posterior alone", None), ("calibrated", calibration)):
    score = reliability(adapted, truth, use)
    print(f"{name}: 90 % bands hold {sum(score.per_environment) / 50:.0%}, CRPS {score.crps:.4f}")
bands = adapted.bands(truth.initial, truth.times, level=0.9, calibration=calibration)
print(f"mean width {float(bands.width.mean()):.4f}")

# The published unseen environments lie partly outside the seen range.
new = leads.adapt(model, data.adapt).calibrated(calibration)
print("\n".join(new.warnings()) or "nothing to warn of")
print(leads.evaluate(new, data.adapt_test))

# Two observations that would tell most about each of them, from the same initial state.
print(leads.next_observation(new, data.adapt.initial, family.times, n=2))

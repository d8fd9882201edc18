"""From equations to forecasts in environments never seen, in fifteen lines."""

import sys

import leads

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 6000

family = leads.make("lotka_volterra")  # 9 seen environments, 4 unseen
data = leads.generate(family, seed=0)  # train, valid, test, adapt, adapt_test
model = leads.build("coda", family, backbone="mlp", spread=0.1, context_penalty=1e-6)
leads.fit(model, data.train, valid=data.valid, steps=steps, average=0.999)

adapted = leads.adapt(model, data.adapt)  # one trajectory each, milliseconds
print(f"adapted in {adapted.info['seconds']:.3f} s, {adapted.info['iterations']} iterations")
print(leads.evaluate(adapted, data.adapt_test))

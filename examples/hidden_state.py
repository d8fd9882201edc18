"""Only the angle of a pendulum is measured: its velocity and its frequency are found, and the forecast made from them."""

import sys

import torch

import leads
from leads.hidden import Background, build_hidden, check_hidden, fourdvar
from leads.observation import Channels, Noise
from leads.trajectories import observe

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 400

# Undamped pendulums of five frequencies; of (theta, v) the angle is seen, with 1 % noise.
system, times = leads.make("pendulum").system, torch.arange(10, dtype=torch.float64) * 0.4


def swings(frequencies: list[float], n: int, seed: int) -> leads.Trajectories:
    p = torch.tensor([[0.0, w, 0.0, 0.0] for w in frequencies], dtype=torch.float64)
    x0 = 2 * torch.rand(len(p), n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    return leads.Trajectories(system.simulate(x0, p, times).float(), times, p, channels=system.channels)


operator = Channels("theta") | Noise(0.01)
truth = swings([0.9, 1.15], 4, seed=2)
train, valid = (observe(swings([0.8, 1.0, 1.2], n, seed), operator, seed) for n, seed in ((16, 0), (4, 1)))
support, test = observe(swings([0.9, 1.15], 2, seed=3), operator, 3), observe(truth, operator, 2)

# The equation is known, the frequency of each environment and the velocity are not.
physics = {"family": "pendulum", "terms": ["oscillation"], "own": {"omega0": 1.0}}
mlp = {"width": 32, "depth": 2}
model = build_hidden(
    "aphynity", train, physics=physics, network=False, backbone="mlp", frames=3, encoder="mlp", encoder_settings=mlp
)
leads.fit(model, train, valid, steps=steps, lr=1e-2, horizons=(2, 0))

# Two environments never seen, from angles alone.
adapted = leads.adapt(model, support)
print("frequencies", model.adapter.physical(adapted.contexts)["omega0"].tolist())
print(leads.evaluate(adapted, test, names=["mse"]))
print(check_hidden(model, adapted.contexts, test, truth))

# The other route: the first state that brings the model through what is observed.
analysis = fourdvar(model, adapted.contexts, test, Background((0.6, 0.6)))
print("4D-Var: error of v at the start", float((analysis.initial - truth.initial)[..., 1].square().mean().sqrt()))

"""A forecaster that goes on learning while observations come in, says what it has learned in physical units, and notices
when the system changes."""

import sys

import numpy as np
import torch

import leads
from leads.adaptation import DriftMonitor, OnlineAdapter, frame_error, parameter_map

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3000

family = leads.make("lotka_volterra")
data = leads.generate(family)
model = leads.build("coda", family, backbone="mlp", spread=0.1, context_penalty=1e-6)
leads.fit(model, data.train, valid=data.valid, steps=steps, average=0.998)
seen = leads.trained(model, data=data.train)

# A record of a system never seen: measured with noise, and from t = 10 on another one.
system, times, sigma = family.system, 0.5 * torch.arange(40, dtype=torch.float64), 0.02
before, after = torch.tensor([[0.5, 0.6, 0.5, 0.7]]), torch.tensor([[0.5, 0.95, 0.5, 0.9]])
x0 = system.sample_x0(1, np.random.RandomState(0))
calm = leads.simulate(system, before, x0, times)
late = leads.simulate(system, after, calm.states[0, :, 20], times[20:])
states = torch.cat([calm.states[:, :, :20], late.states], 2)
noise = sigma * torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
record = leads.Trajectories((states + noise).float(), times)

# The first three frames adapt; the others come one by one and cost a step each.
first, later = record.select(frames=slice(0, 3)), record.select(frames=slice(3, None))
adapted = leads.adapt(model, first)
online = OnlineAdapter(
    adapted, first, noise=sigma, estimate_start=True, model_error=max(frame_error(seen, data.train), 0.005)
)
monitor = DriftMonitor(online, rate=0.01, frames=len(later.times), restart=1e-3)
physics = parameter_map(model, data=data.train)
for k in range(len(later.times)):
    adapted = monitor.update(later.select(frames=slice(k, k + 1)))
    if k % 6 == 4:
        print(f"t = {online.time:g}: changed: {bool(monitor.flagged[0])}\n{physics.predict(adapted)}")
print(f"alarm at t = {float(monitor.time[0]):g}; the change is placed at t = {float(monitor.began[0]):g}")

ahead = online.time + 0.5 * torch.arange(1, 9, dtype=torch.float64)
truth = leads.simulate(system, after, states[0, :, -1], torch.cat([times[-1:], ahead])).states[:, :, 1:]
print(f"mse of the next four time units: {float((online.forecast(ahead) - truth).square().mean()):.2e}")

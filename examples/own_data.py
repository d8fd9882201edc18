"""Your own trajectories: NumPy arrays or an xarray dataset in, forecasts out."""

import sys

import numpy as np
import xarray

import leads
from leads.trajectories import from_arrays, from_xarray, to_xarray

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000

# Damped oscillators of five stiffnesses, three trajectories each, 30 frames: states (E, N, T, C).
times = np.linspace(0, 6, 30)
stiffness = np.array([0.8, 1.0, 1.2, 1.4, 1.1])[:, None, None]
amplitude = np.array([0.5, 1.0, 1.5])[None, :, None]
decay, frequency = np.exp(-0.1 * times), np.sqrt(stiffness - 0.01)
position = amplitude * decay * np.cos(frequency * times)
velocity = amplitude * decay * (-0.1 * np.cos(frequency * times) - frequency * np.sin(frequency * times))
states = np.stack([position, velocity], -1).astype("float32")

everything = from_arrays(states, times, channels=("position", "velocity"))
train = everything.select(environments=slice(0, 4), trajectories=slice(0, 2))
valid = everything.select(environments=slice(0, 4), trajectories=slice(2, 3))
new = everything.select(environments=slice(4, 5))

model = leads.build("coda", train, dim=1, spread=0.1)
leads.fit(model, train, valid, steps=steps)
adapted = leads.adapt(model, new.select(trajectories=slice(0, 1)))
print(leads.evaluate(adapted, new))

dataset: xarray.Dataset = to_xarray(new)  # named, with coordinates; from_xarray reads it back
print(from_xarray(dataset))

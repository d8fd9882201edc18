"""Surface height observed, currents hidden: forecasts from an encoder, from 4D-Var, and from both.

    OMP_NUM_THREADS=1 python benchmarks/ocean/hidden_state.py --seeds 0 1

Rotating shallow water in a box of 1000 km (the family's system at another choice of environments: Coriolis parameters 0.9
and 1.1e-4 / s, mean depths 12 and 18 m), one frame in 6 hours, of which the height alone is observed, with noise.
Equations known, f0 and H of each environment not: they are contexts, learned from heights. Training on windows of up to
72 hours; weights chosen on validation trajectories; scores on test trajectories, at the lead of the longest training
window, against the height without noise. 4D-Var uses the trained dynamics. New environments are adapted to one observed
trajectory each. Results: benchmarks/results/ocean/hidden_state.json, which a later run with other seeds adds to.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import leads
from leads.experiment import provenance
from leads.hidden import Background, HiddenStateDynamics, build_hidden, channel_scores, check_hidden, fourdvar
from leads.observation import Channels, Noise
from leads.trajectories import Trajectories, observe

ROOT = Path(__file__).resolve().parents[2]
HOURS = 3600.0
FRAMES = 4
HORIZON = 12
DEPTHS, CORIOLIS = (12.0, 18.0), (9e-5, 1.1e-4)
#: Inside the range of the seen ones, and outside.
UNSEEN = ((1e-4, 15.0), (1.2e-4, 11.0))
A4 = 1e10


def make_family(size: int) -> leads.EnvironmentFamily:
    rows = lambda pairs: torch.tensor([(*pair, A4) for pair in pairs], dtype=torch.float64)
    return dataclasses.replace(
        leads.make("shallow_water", size=size),
        times=torch.arange(20, dtype=torch.float64) * 6 * HOURS,
        seen=rows([(f, depth) for f in CORIOLIS for depth in DEPTHS]),
        unseen=rows(UNSEEN),
    )


def make_model(observed: Trajectories, size: int, seed: int) -> HiddenStateDynamics:
    physics = {
        "family": "shallow_water",
        "arguments": {"size": size},
        "fixed": {"A4": A4},
        "own": {"f0": 1e-4, "H": 15.0},
    }
    return build_hidden(
        "aphynity",
        observed,
        physics=physics,
        network=False,
        frames=FRAMES,
        encoder="resnet",
        encoder_settings={"width": 32, "blocks": 3},
        scale=(0.3, 0.3, 0.02),
        substeps=8,
        seed=seed,
    )


def rmse(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).square().mean().sqrt())


def compare(
    model: HiddenStateDynamics, contexts: dict[str, Tensor], observed: Trajectories, truth: Trajectories
) -> dict[str, Any]:
    """Forecasts of all routes from frame ``start``, with what is observed until then."""
    start = 2 * (FRAMES - 1)
    times = observed.times[start : start + HORIZON + 1]
    contexts = {k: v.detach() for k, v in contexts.items()}
    early, late = slice(0, FRAMES), slice(FRAMES - 1, start + 1)
    window = observed.select(frames=late)
    past = lambda frames: observed.select(frames=frames).states
    with torch.no_grad():
        states = {"encoder": model.state(past(late), times[0], contexts)}
        first_guess = model.state(past(early), window.times[0], contexts)
    prior = Background(PRIOR, 60e3)
    near = Background((0.05, 0.05, 0.02), 60e3)
    seconds: dict[str, float] = {}
    routes = {
        "4D-Var, climatology, 4 frames": (window, prior, 0.0),
        "4D-Var, climatology, 7 frames": (observed.select(frames=slice(0, start + 1)), prior, 0.0),
        "4D-Var from the encoder, 4 + 3 frames": (window, near, first_guess),
    }
    info: dict[str, Any] = {}
    for name, (data, background, mean) in routes.items():
        began = time.perf_counter()
        analysis = fourdvar(model, contexts, data, background, mean=mean, iterations=ITERATIONS)
        seconds[name] = time.perf_counter() - began
        states[name] = analysis.final
        drop = (analysis.history[-1] / analysis.history[0]).median()
        info[name] = {"iterations": len(analysis.history) - 1, "seconds": seconds[name], "cost_left": float(drop)}
    names = tuple(c.name for c in truth.channels)
    true = truth.states[:, :, start : start + HORIZON + 1]
    result: dict[str, Any] = {"lead_hours": ((times - times[0]) / HOURS).tolist(), "routes": {}}
    still = observed.states[:, :, start, None].expand(-1, -1, HORIZON + 1, -1, -1, -1)
    result["persistence_rmse_h"] = [rmse(still[:, :, k, 0], true[:, :, k, 2]) for k in range(HORIZON + 1)]
    for name, state in states.items():
        with torch.no_grad():
            path = model.full.rollout(state, times, contexts)
        scores = channel_scores(path, true, times, names)
        error = scores.rmse[:, 2].tolist()
        result["routes"][name] = {
            "rmse_h": error,
            "persistence_over_forecast": result["persistence_rmse_h"][-1] / error[-1],
            "hidden_correlation": {n: scores.correlation[:, i].tolist() for i, n in enumerate(names[:2])},
            "hidden_rmse": {n: scores.rmse[:, i].tolist() for i, n in enumerate(names[:2])},
            **info.get(name, {}),
        }
    return result


def run(seed: int, args: argparse.Namespace) -> dict[str, Any]:
    family = make_family(args.size)
    data = leads.generate(family, seed=0)
    few = slice(0, args.trajectories)
    operator = Channels("h") | Noise(args.noise)
    seen = {
        name: observe(getattr(data, name), operator, seed=i)
        for i, name in enumerate(("train", "valid", "test", "adapt", "adapt_test"))
    }
    model = make_model(seen["train"], args.size, seed)
    began = time.perf_counter()
    fitted = leads.fit(
        model,
        seen["train"],
        seen["valid"],
        steps=args.steps,
        lr=args.lr,
        context_lr=2e-2,
        horizons=(2, 4, HORIZON),
        shares=(0.4, 0.4, 0.2),
        batch=1,
        average=0.98,
        validate_every=max(1, args.steps // 8),
        seed=seed,
        progress=False,
        loggers=[Lines()],
    )
    spent = time.perf_counter() - began
    contexts = model.source.table()
    test, truth = seen["test"].select(trajectories=few), data.test.select(trajectories=few)
    result: dict[str, Any] = {"seed": seed, "fit_seconds": spent, "best_step": fitted.best_step, "steps": args.steps}
    result["valid"] = fitted.best_valid
    physical = {k: v.tolist() for k, v in model.adapter.physical(contexts).items() if v.ndim}
    result["parameters_found"] = physical
    result["test"] = compare(model, contexts, test, truth)
    print(
        check_hidden(
            model,
            contexts,
            test.select(frames=slice(0, FRAMES + HORIZON)),
            truth.select(frames=slice(0, FRAMES + HORIZON)),
        )
    )
    began = time.perf_counter()
    adapted = leads.adapt(model, seen["adapt"].select(frames=slice(0, FRAMES + 8)))
    result["adapt_seconds"] = time.perf_counter() - began
    found = model.adapter.physical(adapted.contexts)
    result["new_environments"] = {
        "true": [list(pair) for pair in UNSEEN],
        "found": {k: v.tolist() for k, v in found.items() if v.ndim},
        **compare(
            model,
            adapted.contexts,
            seen["adapt_test"].select(trajectories=few),
            data.adapt_test.select(trajectories=few),
        ),
    }
    return result


class Lines:
    """Prints what the training reports."""

    def record(self, row: dict[str, Any]) -> None:
        print({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}, flush=True)

    def close(self, summary: dict[str, Any]) -> None:
        del summary


#: Deviations of the climatological background: the height's from the training data, the currents' from geostrophy
#: (g k / f h with the eddies' 400 km); iterations of L-BFGS.
PRIOR, ITERATIONS = (0.45, 0.45, 0.3), 25


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="of the models; the data are the same")
    parser.add_argument("--size", type=int, default=16, help="points a side")
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--noise", type=float, default=0.003, help="of the height, in m")
    parser.add_argument("--trajectories", type=int, default=3, help="test trajectories of each environment")
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results" / "ocean" / "hidden_state.json"))
    args = parser.parse_args(arguments)
    out = Path(args.out)
    runs = json.loads(out.read_text())["runs"] if out.exists() else []
    for seed in args.seeds:
        result = run(seed, args)
        origin = provenance(command="python benchmarks/ocean/hidden_state.py " + shlex.join(arguments))
        result["provenance"] = origin
        runs = [r for r in runs if r["seed"] != seed] + [result]
        settings = {k: v for k, v in vars(args).items() if k not in ("seeds", "out")}
        settings |= {"frames_read": FRAMES, "horizon_frames": HORIZON, "frame_hours": 6, "prior": PRIOR}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"provenance": origin, "settings": settings, "runs": runs}, indent=1))
        for part in ("test", "new_environments"):
            for name, route in result[part]["routes"].items():
                u, v = (route["hidden_correlation"][c] for c in "uv")
                print(
                    f"seed {seed}, {part}, {name}: {route['persistence_over_forecast']:.2f} times better than persistence "
                    f"after {6 * HORIZON} h; u, v correlate {u[0]:.3f}, {v[0]:.3f} at the start and {u[-1]:.3f}, {v[-1]:.3f} at the end"
                )
    print(out)


if __name__ == "__main__":
    main(sys.argv[1:])

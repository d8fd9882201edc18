"""Train a method on a family over several seeds, adapt, evaluate, and write one result file.

    python benchmarks/study.py lotka_volterra coda --seeds 0 1 2 --fidelity exact --name lv_coda_exact \
        --model spread=0.1 context_penalty=1e-6 l1=1e-6 --trainer steps=30000 average=0.999

Runs that are finished are skipped; a killed one resumes from its checkpoint. Weights are chosen on validation
trajectories of seen environments. Results go to benchmarks/results/NAME.json, the report to runs/NAME/report.html.
"""

from __future__ import annotations

import argparse
import ast
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import leads
from leads.evaluation import Evaluation, aggregate
from leads.evaluation.report import RunReport, write_report
from leads.experiment import provenance
from leads.training.files import model_from, read_tensors

ROOT = Path(__file__).resolve().parent.parent


def pairs(items: list[str]) -> dict[str, Any]:
    """``["a=1", "b=x"]`` as a dict, values read as Python literals where they are."""
    result: dict[str, Any] = {}
    for item in items:
        key, _, value = item.partition("=")
        try:
            result[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            result[key] = value
    return result


def run_seed(args: argparse.Namespace, seed: int, data: Any, family: Any) -> dict[str, Any]:
    folder = ROOT / "runs" / args.name / f"seed{seed}"
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    model = leads.build(
        args.method,
        family,
        backbone=args.backbone,
        backbone_settings=pairs(args.network),
        seed=seed,
        **pairs(args.model),
    )
    if args.as_is:
        tensors, saved = read_tensors(folder / "checkpoint.safetensors", "checkpoint")
        best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        model, state = model_from(best, saved, folder), saved["state"]
        leads.save_model(model, folder / "model.safetensors")
        (folder / "history.json").write_text(json.dumps(state["history"]))
        trained = {k: state[k] for k in ("seconds", "best_step", "best_valid")} | {"stopped_at": state["step"]}
    else:
        fitted = leads.fit(model, data.train, data.valid, run_dir=folder, seed=seed, **pairs(args.trainer))
        trained = {"seconds": fitted.seconds, "best_step": fitted.best_step, "best_valid": fitted.best_valid}
    horizon = float(family.times[-1])
    seen = leads.trained(model, data=data.train)
    adapted = leads.adapt(model, data.adapt, **pairs(args.adapt))
    adapted.save(folder / "adapted.safetensors")
    row = {
        "seed": seed,
        **trained,
        "adaptation": {k: v for k, v in adapted.info.items() if k != "losses"},
        "in_domain": leads.evaluate(seen, data.test, horizon).to_dict(),
        "adapted": leads.evaluate(adapted, data.adapt_test, horizon).to_dict(),
    }
    result.write_text(json.dumps(row, indent=1))
    return row


def make_parser(description: str | None, *groups: str) -> argparse.ArgumentParser:
    """What every study is told: family, method, data, backbone, and ``groups`` of NAME=VALUE settings."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family")
    parser.add_argument("method")
    parser.add_argument("--name", required=True)
    parser.add_argument("--split", default="coda")
    parser.add_argument("--fidelity", default="exact")
    parser.add_argument("--backbone", default="mlp")
    for group in groups:
        parser.add_argument(f"--{group}", nargs="*", default=[], metavar="NAME=VALUE")
    return parser


def main(arguments: list[str]) -> None:
    parser = make_parser(__doc__, "network", "model", "trainer", "adapt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--as-is", action="store_true", help="evaluate the best weights in a stopped run's checkpoint")
    args = parser.parse_args(arguments)
    origin = provenance(command="python benchmarks/study.py " + shlex.join(arguments))
    family = leads.make(args.family, split=args.split)
    began = time.perf_counter()
    data = leads.generate(family, seed=0, fidelity=args.fidelity)
    origin["generation_seconds"] = time.perf_counter() - began
    rows = [run_seed(args, seed, data, family) for seed in args.seeds]
    in_domain = [Evaluation.from_dict(r["in_domain"]) for r in rows]
    adapted = [Evaluation.from_dict(r["adapted"]) for r in rows]
    summary = {
        kind: {span: {m: {"mean": s.mean, "std": s.std, "seeds": s.n} for m, s in ms.items()} for span, ms in aggregate(runs).items()}
        for kind, runs in (("in_domain", in_domain), ("adaptation", adapted))
    }  # fmt: skip
    out = ROOT / "benchmarks" / "results" / f"{args.name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    brief = [{k: v for k, v in r.items() if k not in ("in_domain", "adapted")} for r in rows]
    out.write_text(json.dumps({"provenance": origin, "summary": summary, "seeds": brief}, indent=1))
    model = leads.load_model(ROOT / "runs" / args.name / f"seed{args.seeds[0]}" / "model.safetensors")
    folders = [ROOT / "runs" / args.name / f"seed{s}" for s in args.seeds]
    report = RunReport(
        title=args.name, family=args.family, split=args.split, algorithm=args.method,
        in_domain=in_domain, adaptation=adapted,
        histories=[json.loads((f / "history.json").read_text()) for f in folders],
        seen=leads.trained(model, data=data.train), new=leads.Adapted.load(folders[0] / "adapted.safetensors"),
        test=data.test, adapt_test=data.adapt_test,
        seconds=[r["seconds"] for r in rows], provenance=origin,
    )  # fmt: skip
    print(report.headline().text())
    print(write_report([report], ROOT / "runs" / args.name / "report.html", args.name))


if __name__ == "__main__":
    main(sys.argv[1:])

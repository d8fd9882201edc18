"""The commands. Heavy imports happen inside them, so that ``leads --help`` is quick."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_type_hints

import typer

from leads.cli.completion import complete_override

if TYPE_CHECKING:
    from leads.environments import EnvironmentFamily

app = typer.Typer(
    help="Learn the dynamics of physical systems and generalise them across environments. --debug shows tracebacks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_() -> None:
    """Families with their splits, backbones, adapters, algorithms, metrics and integration methods."""
    from rich.console import Console
    from rich.table import Table

    from leads.adapters import adapters
    from leads.algorithms import algorithms
    from leads.backbones import backbones
    from leads.environments import list_families
    from leads.evaluation import metrics
    from leads.integrators import methods

    console = Console()
    table = Table("family", "split", "state", "parameters", "seen", "unseen", "frames", title="Families")
    for name in list_families():
        for f in _variants(name):
            names = ", ".join(p.name for p in f.system.parameters)
            counts = (str(len(f.seen)), str(len(f.unseen)), str(len(f.times)))
            table.add_row(name, f.split, str(f.system.state_shape), names, *counts)
    console.print(table)
    for kind in (backbones, adapters, algorithms, metrics, methods):
        console.print(f"[bold]{kind.kind}s[/]: {', '.join(kind)}")


def _variants(name: str) -> list[EnvironmentFamily]:
    """The family once for every split that its factory names in the type of its argument ``split``."""
    from leads.environments import families, make

    named = get_args(get_type_hints(families[name]).get("split"))
    return [make(name, split=split) for split in named] or [make(name)]


@app.command()
def generate(
    family: Annotated[str, typer.Argument(help="a registered family, see leads list")],
    out: Annotated[Path, typer.Option(help="folder for train, valid, test, adapt and adapt_test")],
    split: Annotated[str | None, typer.Option(help="named variant; the family's default if not given")] = None,
    seed: Annotated[int, typer.Option(help="seed of the initial states; 0 is the published draw")] = 0,
    fidelity: Annotated[str, typer.Option(help="exact, or published (SciPy RK45 at its defaults)")] = "exact",
    zarr: Annotated[bool, typer.Option("--zarr", help="write Zarr instead of NetCDF")] = False,
) -> None:
    """Simulate the data sets of a family and write them with names, units and provenance."""
    from leads.environments import make
    from leads.trajectories import generate as make_data
    from leads.trajectories import save

    data = make_data(make(family, **({"split": split} if split else {})), seed, fidelity)  # type: ignore[arg-type]
    for name in ("train", "valid", "test", "adapt", "adapt_test"):
        trajectories = getattr(data, name)
        path = save(trajectories, out / f"{name}{'.zarr' if zarr else '.nc'}")
        typer.echo(f"{path}: {trajectories!r}")


@app.command(context_settings={"ignore_unknown_options": True})
def fit(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides: group=choice or setting=value", autocompletion=complete_override),
    ] = None,
    multirun: Annotated[bool, typer.Option("-m", "--multirun", help="sweep over comma-separated values")] = False,
) -> None:
    """Train, adapt and evaluate as described by overrides; a killed run goes on where it was.

    leads fit experiment=lotka_volterra_coda trainer.steps=2000 seed=1

    With -m, several values sweep: leads fit -m experiment=lotka_volterra_coda seed=0,1,2
    """
    from leads.cli.hydra import compose, sweep
    from leads.experiment import Run, run_fit

    given = overrides or []
    if multirun:
        sweep(given)
        return
    folder = run_fit(compose(given), shlex.join(["leads", "fit", *given]))
    for name, result in Run(folder).evaluation().items():
        typer.echo(f"\n{name}\n{result}")
    typer.echo(f"\nrun folder: {folder}")


@app.command()
def adapt(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    data: Annotated[Path, typer.Argument(help="trajectories of new environments, .nc or .zarr")],
    out: Annotated[Path | None, typer.Option(help="where the adapted model goes")] = None,
) -> None:
    """Fit the contexts of new environments to their trajectories."""
    from leads.experiment import run_adapt

    adapted = run_adapt(run, data, out)
    info = adapted.info
    typer.echo(f"{info['solver']}: {info['iterations']} iterations in {info['seconds']:.3f} s")
    for e, loss in enumerate(info.get("loss", [])):
        state = "converged" if info["converged"][e] else "NOT converged"
        typer.echo(f"environment {e}: mean square error {loss:.3e}, {state}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    format: Annotated[Literal["text", "json", "markdown", "latex"], typer.Option(help="of the table")] = "text",
) -> None:
    """Score a run on the test sets of its family: seen environments, and unseen ones after adaptation."""
    import json

    from leads.evaluation import Table
    from leads.experiment import run_evaluate

    results = run_evaluate(run)
    if format == "json":
        typer.echo(json.dumps({k: v.to_dict() for k, v in results.items()}, indent=1))
        return
    metrics = list(next(iter(results.values())).scores["all"])
    rows = [
        [name, span, *(f"{scores[m]:.3e}" for m in metrics)]
        for name, result in results.items()
        for span, scores in result.scores.items()
    ]
    table = Table(["protocol", "span", *metrics], rows)
    typer.echo({"text": table.text, "markdown": table.markdown, "latex": table.latex}[format]())


@app.command()
def report(
    runs: Annotated[list[str], typer.Argument(help="run folders; runs that differ only in their seed are averaged")],
    out: Annotated[Path, typer.Option(help="the page to write")] = Path("report.html"),
) -> None:
    """One self-contained HTML page: errors beside published ones, forecasts, contexts, training curves."""
    from leads.evaluation.report import write_report
    from leads.experiment import group_seeds

    pages = [
        group[0].report(f"{group[0].experiment.method.name} on {group[0].experiment.family.name}", group[1:])
        for group in group_seeds(runs)
    ]
    typer.echo(write_report(pages, out))

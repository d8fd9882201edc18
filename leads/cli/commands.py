"""The commands. Heavy imports happen inside them, so that ``leads --help`` is quick."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from leads.cli.completion import complete_family, complete_override
from leads.cli.scores import print_scores
from leads.cli.serve import serve

app = typer.Typer(
    help="Learn the dynamics of physical systems and generalise them across environments. --debug shows tracebacks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


app.command()(serve)


@app.command("list")
def list_(
    family: Annotated[
        str | None, typer.Argument(help="show the card of this family", autocompletion=complete_family)
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="the card as Markdown source")] = False,
) -> None:
    """All that is registered, or the card of one family: equations, parameters, splits, cost, source."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from leads.adapters import adapters
    from leads.algorithms import algorithms
    from leads.backbones import backbones
    from leads.environments import list_families
    from leads.environments.card import card, splits
    from leads.evaluation import metrics
    from leads.integrators import methods

    console = Console()
    if family is not None:
        text = card(family).markdown()
        typer.echo(text) if markdown else console.print(Markdown(text))
        return
    table = Table(title="Families", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for column, least, most in (
        ("family", max(map(len, list_families())), None), ("splits", 19, 19), ("state", 11, None), ("parameters", 11, 12),
        ("data", 9, None),
    ):  # fmt: skip
        table.add_column(column, min_width=least, max_width=most, overflow="fold")
    for name in list_families():
        variants = splits(name)
        f = variants[0]
        varied = [p.name for i, p in enumerate(f.system.parameters) if len(f.seen[:, i].unique()) > 1]
        state = " x ".join(map(str, f.system.state_shape))
        counts = f"{len(f.seen)}+{len(f.unseen)} x {len(f.times)}"
        table.add_row(name, ", ".join(v.split for v in variants), state, ", ".join(varied), counts)
    console.print(table)
    console.print(
        "data: seen + unseen environments x frames, of the first split; parameters: those that differ between its environments. "
        "One family: leads list NAME"
    )
    for kind in (backbones, adapters, algorithms, metrics, methods):
        console.print(f"[bold]{kind.kind}s[/]: {', '.join(kind)}")


@app.command()
def generate(
    family: Annotated[str, typer.Argument(help="a registered family, see leads list", autocompletion=complete_family)],
    out: Annotated[Path, typer.Option(help="folder for train, valid, test, adapt and adapt_test")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="arguments of the family, e.g. size=64; cluster=... and workers=... too")
    ] = None,
    split: Annotated[str | None, typer.Option(help="named variant; the family's default if not given")] = None,
    seed: Annotated[int, typer.Option(help="seed of the initial states; 0 is the published draw")] = 0,
    fidelity: Annotated[str, typer.Option(help="exact, or published (SciPy RK45 at its defaults)")] = "exact",
    zarr: Annotated[bool, typer.Option("--zarr", help="stream to Zarr, chunk by chunk, instead of NetCDF")] = False,
    environments: Annotated[int | None, typer.Option(help="fresh seen environments in place of the family's")] = None,
    distribution: Annotated[
        Literal["inside", "outside", "shift"], typer.Option(help="where fresh environments lie to the seen range")
    ] = "inside",
    cluster: Annotated[
        str | None, typer.Option(help="local, or the address of a Dask scheduler; implies --zarr")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="processes of cluster local")] = None,
    chunk: Annotated[int | None, typer.Option(help="with --zarr: bytes of states in memory and in a file")] = None,
    on_blowup: Annotated[Literal["raise", "mark"], typer.Option(help="with --zarr: stop, or mark and go on")] = "raise",
) -> None:
    """Simulate the data sets of a family and write them with names, units and provenance.

    What was simulated before is found in the cache ($LEADS_CACHE, by default ~/.cache/leads), and the line of a set says so.

    With --zarr, which a cluster implies, sets may be larger than memory, and a killed run goes on when it is repeated:

    leads generate lotka_volterra --out data --environments 10000 --cluster local
    """
    from dataclasses import replace

    from leads.environments import Budget, make
    from leads.errors import SettingsError
    from leads.trajectories import fresh_environments, save, stream_sets
    from leads.trajectories import generate as make_data
    from leads.trajectories.cache import cache_folder
    from leads.trajectories.progress import progress_bar
    from leads.trajectories.seeds import check_seed

    given = _pairs(arguments or [])
    cluster, workers = given.pop("cluster", cluster), given.pop("workers", workers)
    streaming = {"cluster": cluster, "workers": workers, "chunk": chunk}
    settings = {name: value for name, value in streaming.items() if value is not None}
    zarr = zarr or cluster is not None
    if not zarr and (settings or on_blowup != "raise"):
        raise SettingsError("--workers, --chunk and --on-blowup are for sets that are streamed: add --zarr.")
    check_seed(seed)
    if environments is None and distribution != "inside":
        raise SettingsError("--distribution is for fresh environments: say how many, e.g. --environments 100.")
    made = make(family, **(({"split": split} if split else {}) | given))
    origin: dict[str, object] = {}
    if environments is not None:
        made = fresh_environments(made, environments, distribution, seed)
        origin["seen"] = f"{environments} fresh ones {distribution} the range of the family, seed {seed}"
    if zarr:
        before = _complete(out)
        for path in stream_sets(made, out, seed, origin, fidelity=fidelity, on_blowup=on_blowup, **settings).values():
            typer.echo(f"{path}{' (complete already: nothing was made again)' if path.absolute() in before else ''}")
        return
    names = ("train", "valid", "test", "adapt", "adapt_test")
    data, began = {}, time.time()
    with progress_bar(names[0], len(names), "sets") as advance:
        for i, name in enumerate(names):
            # Each set on its own, so that the bar moves: one does not depend on how many trajectories another has.
            alone = Budget(**{other: getattr(made.budget, other) if other == name else 0 for other in names})
            data[name] = getattr(make_data(replace(made, budget=alone), seed, fidelity), name)  # type: ignore[arg-type]
            advance(name=(*names, "done")[i + 1])
    for name, trajectories in data.items():
        trajectories.attributes.update(origin)
        kept = cache_folder() / f"{trajectories.attributes['content']}.safetensors"
        found = kept.exists() and kept.stat().st_mtime < began
        path = save(trajectories, out / f"{name}.nc")
        typer.echo(f"{path}: {trajectories!r}{' (found in the cache)' if found else ''}")


def _complete(folder: Path) -> set[Path]:
    """Streamed sets in a folder of which nothing is left to make."""
    from leads.errors import FileError
    from leads.trajectories.store import attributes_of

    found = set()
    for path in folder.glob("*.zarr"):
        with suppress(FileError):  # what it is, is said where it is to be written
            found |= {path.absolute()} if attributes_of(path).get("complete") else set()
    return found


def _pairs(arguments: list[str]) -> dict[str, Any]:
    """``name=value`` as Python values; what is no number, boolean or tuple is text."""
    from ast import literal_eval

    from leads.errors import SettingsError

    pairs: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name.isidentifier():
            raise SettingsError(f"Arguments of a family are written name=value, e.g. size=64; got {argument!r}.")
        try:
            pairs[name] = literal_eval(value.title() if value in ("true", "false") else value)
        except (ValueError, SyntaxError):
            pairs[name] = value
    return pairs


@app.command()
def convert(
    files: Annotated[
        list[Path], typer.Argument(help="files to read, or one folder of them; the last is what to write")
    ],
    format: Annotated[str | None, typer.Option(help="to write; by the suffix if not given")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="format to read; by what is in it if not given")] = None,
    mask_nan: Annotated[
        bool, typer.Option("--mask-nan", help="mark values that are NaN or infinite as not observed")
    ] = False,
) -> None:
    """Rewrite trajectories in another format. Several files are put one after the other, environment by environment.

    leads convert train.zarr train.npz --format gen_dynamics
    """
    from leads.errors import DataError, SettingsError
    from leads.trajectories import read, write

    *inputs, out = files
    if not inputs:
        raise SettingsError(f"leads convert needs what to read and what to write, got only {out}.")
    try:
        data = read(inputs[0] if len(inputs) == 1 else inputs, from_, mask_nan=mask_nan)
    except DataError as error:
        raise DataError(str(error).replace("pass mask_nan=True", "add --mask-nan")) from error
    for path in write(data, out, format):
        typer.echo(path)


@app.command(context_settings={"ignore_unknown_options": True})
def fit(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides: group=choice or setting=value", autocompletion=complete_override),
    ] = None,
    multirun: Annotated[bool, typer.Option("-m", "--multirun", help="sweep over comma-separated values")] = False,
) -> None:
    """Train, adapt and evaluate as described by overrides (alone: CoDA on Lotka-Volterra); a killed run goes on.

    leads fit experiment=lotka_volterra_coda trainer.steps=2000 seed=1

    With -m, several values sweep: leads fit -m experiment=lotka_volterra_coda seed=0,1,2
    """
    from leads.cli.hydra import compose, sweep
    from leads.experiment import run_fit
    from leads.training import reports

    given = overrides or []
    if multirun:
        sweep(given)
        return
    experiment = compose(given)
    if reports():
        typer.echo(f"{experiment.method.name} on {experiment.family.name}, run folder {experiment.run_dir}", err=True)
    folder = run_fit(experiment, shlex.join(["leads", "fit", *given]))
    if reports():
        print_scores(folder)


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    environments: Annotated[
        int, typer.Option(help="fresh environments, drawn inside the seen range and simulated")
    ] = 200,
    noise: Annotated[float, typer.Option(help="standard deviation of the observations to come")] = 0.0,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
) -> None:
    """Calibrate error bars and alarms on environments that the model was not trained on; adapt uses them from then on."""
    from leads.experiment import run_calibrate

    typer.echo(run_calibrate(run, environments, noise, seed))


@app.command()
def adapt(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    data: Annotated[Path, typer.Argument(help="trajectories of new environments, .nc or .zarr")],
    out: Annotated[Path | None, typer.Option(help="where the adapted model goes")] = None,
    initial: Annotated[
        str, typer.Option(help="first states: given, or estimated from noisy or missing ones")
    ] = "given",
    noise: Annotated[float | None, typer.Option(help="known standard deviation of the observations")] = None,
) -> None:
    """Fit the contexts of new environments to their trajectories."""
    from leads.experiment import run_adapt

    settings: dict[str, Any] = {} if initial == "given" else {"initial": initial}
    if noise is not None:
        settings["noise"] = noise
    adapted = run_adapt(run, data, out, **settings)
    info = adapted.info
    typer.echo(f"{info['solver']}: {info['iterations']} iterations in {info['seconds']:.3f} s")
    typer.echo(f"adapted model: {out or run / f'adapted_{data.stem}.safetensors'}")
    for e, loss in enumerate(info.get("loss", [])):
        state = "converged" if info["converged"][e] else "NOT converged"
        typer.echo(f"environment {e}: mean square error {loss:.3e}, {state}")
    for warning in adapted.warnings():
        typer.echo(f"WARNING: {warning}", err=True)


@app.command("adapt-many")
def adapt_many(
    model: Annotated[Path, typer.Argument(help="a run folder or a model file")],
    data: Annotated[Path, typer.Argument(help="trajectories of many environments, .nc or .zarr")],
    out: Annotated[Path, typer.Argument(help="the Zarr folder for contexts, losses and covariances")],
    memory: Annotated[float, typer.Option(help="GiB that may be used")] = 1.0,
    cluster: Annotated[str | None, typer.Option(help="Dask: local, or the address of a scheduler")] = None,
) -> None:
    """Fit the contexts of up to a million environments, chunk by chunk; a killed call goes on where it was."""
    from leads.adaptation import adapt_many as run_many
    from leads.training import load_model

    weights = model / "model.safetensors" if model.is_dir() else model
    results = run_many(load_model(weights), data, out, memory=int(memory * 2**30), cluster=cluster, progress=True)
    for name, value in results.summary().items():
        typer.echo(f"{name}: {value}")


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
    adaptation: Annotated[float, typer.Option(help="seconds for the section on adaptation, per run; 0: none")] = 30.0,
) -> None:
    """One self-contained HTML page: errors beside published ones, forecasts, contexts, training curves; the section on
    adaptation has coverage and reliability too where the run is calibrated (leads calibrate)."""
    from leads.evaluation.report import write_report
    from leads.experiment import group_seeds

    pages = [_page(group, adaptation) for group in group_seeds(runs)]
    typer.echo(write_report(pages, out, adaptation=adaptation))


def _page(group: list[Any], budget: float) -> Any:
    """What the report shows of runs that differ in their seed alone, with the error bars of the first."""
    from dataclasses import replace

    from leads.adaptation import Calibration
    from leads.evaluation.calibrated_story import reliability_story
    from leads.experiment.run import CALIBRATION
    from leads.experiment.settings import adapt_settings

    run, *others = group
    page = run.report(f"{run.experiment.method.name} on {run.experiment.family.name}", others)
    path = run.folder / CALIBRATION
    calibration = Calibration.load(path) if path.exists() else None
    story = reliability_story(page.new, calibration, run.family, adapt_settings(run.experiment), budget)
    return replace(page, more=[*page.more, *story.figures], left_out=[*page.left_out, *story.notes])

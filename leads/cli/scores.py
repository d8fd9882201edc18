"""What the command line prints of a finished run."""

from __future__ import annotations

from pathlib import Path

import typer


def print_scores(folder: Path, title: str = "") -> None:
    """The evaluation of a run, protocol by protocol, and its folder.

    Args:
        folder: of the run.
        title: printed first, such as the overrides of a job of a sweep.
    """
    from leads.experiment import Run

    if title:
        typer.echo(f"\n{title}")
    for name, result in Run(folder).evaluation().items():
        typer.echo(f"\n{name}\n{result}")
    typer.echo(f"\nrun folder: {folder}")

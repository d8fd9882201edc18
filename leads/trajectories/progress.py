"""A bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Says that one more is done, and under what name work goes on where that changes.
Advance = Callable[..., None]


@contextmanager
def progress_bar(name: str, total: int, what: str, done: int = 0, show: bool | None = None) -> Iterator[Advance]:
    """A function ``advance(steps=1, name=None)`` that moves a bar on, and names what is being done.

    Args:
        name: what is being done.
        total: how many steps there are, and ``done`` how many were done before.
        what: the steps, in plural.
        done: see ``total``.
        show: whether to; by default where stderr is a terminal.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda *_, **__: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(what))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, completed=done)
        yield lambda steps=1, name=None: bar.update(task, advance=steps, description=name)

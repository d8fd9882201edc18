"""Errors as one message and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from leads.errors import LeadsError


@contextmanager
def explained(debug: bool = False) -> Iterator[None]:
    """Turn errors that the user can mend into a message on stderr and exit code 2; ``debug`` shows the traceback."""
    try:
        yield
    except Exception as error:
        if debug or not (isinstance(error, LeadsError) or _from_hydra(error)):
            raise
        from rich.console import Console

        Console(stderr=True).print(f"[bold red]Error:[/] {_text(error)}", markup=True, highlight=False, soft_wrap=True)
        sys.exit(2)


def _from_hydra(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in ("hydra", "omegaconf")


def _text(error: Exception) -> str:
    from rich.markup import escape

    lines = [
        line for line in str(error).splitlines() if line.strip() and not line.startswith("Set the environment variable")
    ]
    return escape("\n".join(lines))

"""Errors as one message and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from leads.errors import LeadsError


@contextmanager
def explained(debug: bool = False) -> Iterator[None]:
    """Turn errors that the user can mend into a message on stderr and exit code 2; ``debug`` shows the traceback.

    These are ours, and the operating system's (a folder that cannot be written, a file that is not there). Any other
    exception is a bug of ours and keeps its traceback.
    """
    try:
        yield
    except (LeadsError, OSError) as error:
        if debug:
            raise
        from rich.console import Console
        from rich.markup import escape

        text = escape(str(error).strip())
        Console(stderr=True).print(f"[bold red]Error:[/] {text}", highlight=False, soft_wrap=True)
        sys.exit(2)

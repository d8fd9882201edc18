"""The command line: ``leads list``, ``generate``, ``fit``, ``adapt``, ``evaluate``, ``report``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; an error that the user can mend ends it with one message and exit code 2."""
    # Two OpenMP threads on a busy machine can be forty times slower than one while they spin at barriers.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from leads.cli.commands import app
    from leads.cli.errors import explained

    with explained(debug="--debug" in sys.argv):
        if "--debug" in sys.argv:
            sys.argv.remove("--debug")
        app()

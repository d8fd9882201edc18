"""The command line: ``leads list``, ``generate``, ``fit``, ``adapt``, ``evaluate``, ``report``, ``serve``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; an error that the user can mend ends it with one message and exit code 2."""
    # Two OpenMP threads on a busy machine can be forty times slower than one while they spin at barriers. OpenMP reads
    # this when torch is loaded, so it must be set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from leads.cli.commands import app
    from leads.cli.errors import explained

    debug = "--debug" in sys.argv
    with explained(debug):
        app([argument for argument in sys.argv[1:] if argument != "--debug"])

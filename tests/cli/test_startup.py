"""The command line starts quickly, and early enough to tell OpenMP how its threads shall wait."""

from __future__ import annotations

import os
import re
import subprocess
import sys


def test_help_loads_no_torch() -> None:
    code = "import sys; from leads.cli.commands import app; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_threads_wait_passively_unless_told_otherwise() -> None:
    code = "import os, sys; sys.argv = ['leads', 'list']; from leads.cli import main; main()"
    told = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")} | {
        "OMP_DISPLAY_ENV": "verbose"
    }
    for given, still in ({}, True), ({"OMP_WAIT_POLICY": "ACTIVE"}, False):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=told | given
        )
        assert done.returncode == 0, done.stderr
        spins = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)  # nothing where OpenMP is not GNU's
        assert all((count == "0") == still for count in spins), done.stderr

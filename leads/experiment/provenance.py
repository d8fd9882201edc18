"""What made a result: versions, commit, machine, date, command."""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from leads.version import __version__


def provenance(device: torch.device | str = "cpu", command: str = "", **more: Any) -> dict[str, Any]:
    """A JSON-able description; ``more`` is added as it is (seeds, timings ...)."""
    cpu = f"cpu, {torch.get_num_threads()} thread(s), {platform.machine()}"
    return {
        "leads": __version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "device": cpu if str(device) == "cpu" else str(device),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command or " ".join(sys.argv),
        **more,
    }


def _commit() -> str | None:
    """The commit of the checkout that leads runs from, ``-dirty`` where it was changed since; ``None`` elsewhere."""
    package = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != package.parent:
            return None
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", str(package)) else "")
    except (OSError, subprocess.CalledProcessError):
        return None

"""Every example runs, with few steps."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import stand_ins

FOLDER = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_example(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    command = [sys.executable, str(path), "20"]
    if "learn2learn" in path.stem:
        if importlib.util.find_spec("learn2learn") is None:
            pytest.skip(stand_ins.REASON)
        command.insert(1, stand_ins.__file__)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mse" in done.stdout

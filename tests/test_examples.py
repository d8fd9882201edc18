"""Every example runs, with few steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_example(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    done = subprocess.run([sys.executable, str(path), "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mse" in done.stdout

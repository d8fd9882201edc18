"""Every example runs, with few steps."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import stand_ins

from leads.ocean.data.public import INSTALL, have_public_files

FOLDER = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_example(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    command = [sys.executable, str(path), "20"]
    if "learn2learn" in path.stem:
        if importlib.util.find_spec("learn2learn") is None:
            pytest.skip(stand_ins.REASON)
        command.insert(1, stand_ins.__file__)
    if "leads.ocean" in path.read_text():
        pytest.importorskip("cf_xarray", reason="needs leads-dynamics[ocean]")
    if "public_file(" in path.read_text() and not have_public_files():
        pytest.skip(f"needs real data: {INSTALL}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mse" in done.stdout

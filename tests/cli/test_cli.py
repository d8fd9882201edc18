from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

QUICK = ["trainer.steps=10", "trainer.validate_every=5", "backbone.settings.width=8", "progress=false"]


def run(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leads.cli", *args], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_the_whole_path(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run("fit", "experiment=lotka_volterra_coda", *QUICK, f"run_dir={folder}")
    assert done.returncode == 0, done.stderr
    assert "adaptation" in done.stdout
    assert {"settings.yaml", "provenance.json", "model.safetensors", "adapted.safetensors"} <= {
        p.name for p in folder.iterdir()
    }
    assert run("generate", "lotka_volterra", "--out", str(tmp_path / "data"), "--zarr").returncode == 0
    adapted = run("adapt", str(folder), str(tmp_path / "data" / "adapt.zarr"))
    assert adapted.returncode == 0, adapted.stderr
    assert "levenberg_marquardt" in adapted.stdout
    scores = json.loads(run("evaluate", str(folder), "--format", "json").stdout)
    assert scores["adaptation"]["scores"]["all"]["mse"] > 0
    assert "|---|" in run("evaluate", str(folder), "--format", "markdown").stdout
    assert run("report", str(folder), "--out", str(tmp_path / "r.html")).returncode == 0
    assert (tmp_path / "r.html").stat().st_size > 50_000
    model = folder / "model.safetensors"
    model.write_bytes(model.read_bytes()[:200])
    broken = run("evaluate", str(folder))
    assert broken.returncode == 2
    assert "truncated" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_sweep(tmp_path: Path) -> None:
    done = run("fit", "-m", "experiment=lotka_volterra_erm", "seed=0,1", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("evaluation.json"))) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fit", "experiment=lotka_volterra_cod"], "lotka_volterra_coda"),
        (["fit", "trainer.step=3"], "trainer.step"),
        (["fit", "trainer.steps=many"], "many"),
        (["fit", "device=tpuu", "trainer.steps=1"], "device"),
        (["evaluate", "nowhere"], "not a run folder"),
        (["generate", "lotkavolterra", "--out", "x"], "Did you mean 'lotka_volterra'"),
        (["generate", "lotka_volterra", "--out", "x", "--fidelity", "exat"], "Did you mean 'exact'"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(args: list[str], message: str, tmp_path: Path) -> None:
    done = run(*args, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_list() -> None:
    assert "report" in run("--help").stdout
    for command in ("list", "generate", "fit", "adapt", "evaluate", "report"):
        assert run(command, "--help").returncode == 0
    assert "gray_scott" in run("list").stdout

"""The command line: the whole path, sweeps, and every error as one message with exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leads.cli import main
from leads.cli.commands import app

QUICK = ["trainer.steps=10", "trainer.validate_every=5", "backbone.settings.width=8", "progress=false"]


def run(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "leads.cli", *args], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs the command line in this process; gives its message, having checked the exit code and the form."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> str:
        monkeypatch.setattr(sys, "argv", ["leads", *args])
        with pytest.raises(SystemExit) as stopped:
            main()
        message = capsys.readouterr().err
        assert stopped.value.code == 2, message
        assert "Traceback" not in message
        return " ".join(message.split())

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = run("fit", "experiment=lotka_volterra_coda", *QUICK, f"run_dir={folder}")
    assert done.returncode == 0, done.stderr
    assert "adaptation" in done.stdout
    return folder


def test_the_whole_path(trained: Path, tmp_path: Path) -> None:
    assert {"settings.yaml", "provenance.json", "model.safetensors", "adapted.safetensors", "history.json"} <= {
        p.name for p in trained.iterdir()
    }
    origin = json.loads((trained / "provenance.json").read_text())
    assert {"leads", "commit", "torch", "device", "date", "command", "seed", "training_seconds"} == origin.keys()
    assert origin["command"].startswith("leads fit experiment=lotka_volterra_coda")
    assert CliRunner().invoke(app, ["generate", "lotka_volterra", "--out", str(tmp_path), "--zarr"]).exit_code == 0
    adapted = CliRunner().invoke(app, ["adapt", str(trained), str(tmp_path / "adapt.zarr")])
    assert adapted.exit_code == 0, adapted.output
    assert "levenberg_marquardt" in adapted.output
    assert (trained / "adapted_adapt.safetensors").exists()
    scores = json.loads(CliRunner().invoke(app, ["evaluate", str(trained), "--format", "json"]).output)
    assert scores["adaptation"]["scores"]["all"]["mse"] > 0
    assert "|---|" in CliRunner().invoke(app, ["evaluate", str(trained), "--format", "markdown"]).output
    page = tmp_path / "report.html"
    assert CliRunner().invoke(app, ["report", str(trained), "--out", str(page)]).exit_code == 0
    assert page.stat().st_size > 50_000


def test_sweep(tmp_path: Path) -> None:
    done = run("fit", "-m", "experiment=lotka_volterra_erm", "seed=0,1", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("evaluation.json"))) == 2


@pytest.mark.parametrize("override", ["trainer.steps=-1,-2", "seeed=0,1", "experiment=lotka_volterra_cod,gray"])
def test_a_sweep_that_fails_is_one_message_too(override: str, tmp_path: Path) -> None:
    done = run("fit", "-m", override, *QUICK[1:], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "Error:" in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fit", "experiment=lotka_volterra_cod"], "Did you mean 'lotka_volterra_coda'"),
        (["fit", "method=codaa"], "No method is named 'codaa'. Did you mean 'coda'"),
        (["fit", "seeed=1"], "Did you mean 'seed'"),
        (["fit", "trainer.step=3"], "Did you mean 'trainer.steps'"),
        (["fit", "+trainer.step=3"], "Did you mean 'steps'"),
        (["fit", "family.settings.splt=coda"], "Did you mean 'family.settings.split'"),
        (["fit", "family.settings.split=codaa"], "Did you mean 'coda'"),
        (["fit", "trainer.steps=many"], "Value 'many' of type 'str'"),
        (["fit", "trainer.scheduled_sampling={stat:0.9}"], "Did you mean 'start'"),
        (["fit", "integrator=rk5"], "rk4"),
        (["fit", "device=tpuu", "trainer.steps=1"], "device"),
        (["fit", "precision=16"], "No precision is named '16'"),
        (["fit", "threads=0"], "threads must be at least 1"),
        (["fit", "--foo"], "--foo"),
        (["evaluate", "nowhere"], "not a run folder"),
        (["evaluate", "nowhere", "--format", "jsn"], "jsn"),
        (["adapt", "nowhere", "data.nc"], "not a run folder"),
        (["report", "nowhere"], "not a run folder"),
        (["generate", "lotkavolterra", "--out", "x"], "Did you mean 'lotka_volterra'"),
        (["generate", "lotka_volterra", "--out", "x", "--split", "cod"], "Did you mean 'coda'"),
        (["generate", "lotka_volterra", "--out", "x", "--fidelity", "exat"], "Did you mean 'exact'"),
        (["generate", "lotka_volterra", "--out", "/dev/null/x"], "Could not write"),
        (["fitt"], "Did you mean 'fit'"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(args: list[str], message: str, refused) -> None:  # type: ignore[no-untyped-def]
    assert message in refused(*args)


def test_a_run_folder_belongs_to_one_experiment(trained: Path, refused) -> None:  # type: ignore[no-untyped-def]
    before = (trained / "settings.yaml").read_text()
    message = refused("fit", "experiment=lotka_volterra_coda", *QUICK, "trainer.steps=20", f"run_dir={trained}")
    assert "trainer.steps: 10 there, 20 here" in message
    assert (trained / "settings.yaml").read_text() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", None, "truncated"),
        ("adapted.safetensors", None, "truncated"),
        ("settings.yaml", b"family: [", "cannot be read as the settings of a run"),
        ("settings.yaml", b"family: 3", "needs named settings"),
        ("settings.yaml", b"trainer: {steps: many}", "trainer.steps"),
        ("evaluation.json", b"{", "damaged"),
        ("provenance.json", b"", "damaged"),
    ],
)
def test_damaged_runs_are_refused(name: str, content: bytes | None, message: str, trained: Path, refused) -> None:  # type: ignore[no-untyped-def]
    path = trained / name
    whole = path.read_bytes()
    path.write_bytes(whole[:200] if content is None else content)
    try:
        assert message in refused("report" if name.endswith("json") else "evaluate", str(trained))
    finally:
        path.write_bytes(whole)


def test_missing_and_foreign_data(trained: Path, tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    assert "no dataset" in refused("adapt", str(trained), str(tmp_path / "nothing.nc"))
    (tmp_path / "text.nc").write_text("not a dataset")
    assert "text.nc" in refused("adapt", str(trained), str(tmp_path / "text.nc"))


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run("--debug", "evaluate", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_help_and_list() -> None:
    assert "report" in CliRunner().invoke(app, ["--help"]).output
    for command in ("list", "generate", "fit", "adapt", "evaluate", "report"):
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
    listed = CliRunner().invoke(app, ["list"]).output
    assert all(word in listed for word in ("gray_scott", "geps", "conv", "low_rank", "one_per_environment", "rk4"))


def test_tab_completes_overrides() -> None:
    from leads.cli.completion import complete_override

    assert complete_override("method=co") == ["method=coda"]
    assert "experiment=lotka_volterra_coda" in complete_override("experiment=lotka")
    assert complete_override("nothing_like_it") == []

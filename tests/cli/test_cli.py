"""The command line: the whole path, sweeps, and every error as one message with exit code 2."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import leads
from leads.adaptation import Adapted
from leads.cli import main
from leads.cli.commands import app
from leads.environments import EnvironmentFamily
from leads.environments.card import splits

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
    calibrated = CliRunner().invoke(app, ["calibrate", str(trained), "--environments", "20"])
    assert calibrated.exit_code == 0, calibrated.output
    noisy = ["adapt", str(trained), str(tmp_path / "adapt.zarr"), "--initial", "estimated", "--noise", "0.01"]
    with_bands = CliRunner().invoke(app, noisy)
    assert with_bands.exit_code == 0, with_bands.output
    assert Adapted.load(trained / "adapted_adapt.safetensors").calibration is not None
    many = ["adapt-many", str(trained), str(tmp_path / "adapt.zarr"), str(tmp_path / "many.zarr")]
    assert "environments: 4" in CliRunner().invoke(app, many).output
    scores = json.loads(CliRunner().invoke(app, ["evaluate", str(trained), "--format", "json"]).output)
    assert scores["adaptation"]["scores"]["all"]["mse"] > 0
    assert "|---|" in CliRunner().invoke(app, ["evaluate", str(trained), "--format", "markdown"]).output
    page = tmp_path / "report.html"
    assert CliRunner().invoke(app, ["report", str(trained), "--out", str(page), "--adaptation", "2"]).exit_code == 0
    assert page.stat().st_size > 50_000
    assert re.search("Reliability on .* fresh environments|coverage and reliability on 20 fresh", page.read_text())


def test_sweep(tmp_path: Path) -> None:
    done = run("fit", "-m", "experiment=lotka_volterra_erm", "seed=0,1", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folders = {str(p.parent) for p in tmp_path.rglob("evaluation.json")}
    assert len(folders) == 2
    assert {line.removeprefix("run folder: ") for line in done.stdout.splitlines() if "run folder: " in line} == folders
    assert done.stdout.count("adaptation") >= 2
    assert "seed=1" in done.stdout


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
        (["generate", "lotka_volterra", "--out", "/dev/null/x", "--zarr"], "Could not begin"),
        (["generate", "lotka_volterra", "--out", "x", "--chunk", "1000"], "add --zarr"),
        (["generate", "lotka_volterra", "--out", "x", "cluster=local", "workers=two"], "workers='two'"),
        (["generate", "lotka_volterra", "--out", "x", "cluster=5"], "got 5"),
        (["generate", "lotka_volterra", "--out", "x", "--seed", "1000"], "0 to 999"),
        (["generate", "lotka_volterra", "--out", "x", "--zarr", "--seed", "-1"], "seed=-1"),
        (["generate", "gray_scott", "size=abc", "--out", "x"], "size"),
        (["generate", "gray_scott", "size=2.5", "--out", "x"], "size"),
        (["generate", "kolmogorov", "size=abc", "--out", "x"], "size"),
        (["generate", "lotka_volterra", "--out", "x", "--distribution", "outside"], "--environments 100"),
        (["generate", "lotka_volterra", "--out", "x", "--environments", "0"], "n >= 1"),
        (["generate", "lotka_volterra", "--out", "x", "--zarr", "--workers", "2"], "cluster='local'"),
        (["generate", "gray_scott", "sizes=12", "--out", "x"], "cannot be made with {'sizes': 12}"),
        (["generate", "gray_scott", "12", "--out", "x"], "name=value"),
        (["convert", "a.nc"], "what to read and what to write"),
        (["convert", "a.nc", "b.npz", "--format", "numpy"], "a.nc"),
        (["fitt"], "Did you mean 'fit'"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(args: list[str], message: str, refused) -> None:  # type: ignore[no-untyped-def]
    assert message in refused(*args)


def test_generate_streams_fresh_environments(tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    import leads
    from leads.trajectories import fresh_environments, load

    args = ["generate", "lotka_volterra", "--out", str(tmp_path), "--zarr", "--environments", "5", "--chunk", "1000"]
    for said in ("", " (complete already: nothing was made again)"):
        done = CliRunner().invoke(app, args)
        assert done.exit_code == 0, done.output
        assert done.output.splitlines() == [
            f"{tmp_path / n}.zarr{said}" for n in ("train", "valid", "test", "adapt", "adapt_test")
        ]
    want = leads.generate(fresh_environments(leads.make("lotka_volterra"), 5), cache=False)
    got = load(tmp_path / "train.zarr")
    assert bool((got.states == want.train.states).all())
    assert got.attributes["seen"] == "5 fresh ones inside the range of the family, seed 0"
    assert "seed: 0 there, 1 here" in refused(*args, "--seed", "1")
    assert "parameters differ" in refused(*args, "--distribution", "outside")


def test_generate_says_what_was_there_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADS_CACHE", str(tmp_path / "cache"))
    ask = lambda *more: CliRunner().invoke(app, ["generate", "lotka_volterra", "--out", str(tmp_path / "d"), *more])
    first, again = ask().output, ask().output
    assert "found in the cache" not in first
    assert again.count("(found in the cache)") == 5
    assert again.replace(" (found in the cache)", "") == first
    streamed, repeated = ask("--zarr").output, ask("--zarr").output
    assert "complete already" not in streamed
    assert repeated.count("(complete already: nothing was made again)") == 5


def test_generate_takes_arguments_of_the_family(tmp_path: Path) -> None:
    from leads.trajectories import load

    assert CliRunner().invoke(app, ["generate", "lotka_volterra", "split=leads", "--out", str(tmp_path)]).exit_code == 0
    assert load(tmp_path / "train.nc").states.shape == (10, 1, 20, 2)


def test_a_cluster_implies_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from leads import trajectories

    calls = []

    def streamed(*args: object, **settings: object) -> dict[str, Path]:
        calls.append(settings)
        return {}

    monkeypatch.setattr(trajectories, "stream_sets", streamed)
    for given in (["cluster=local"], ["--cluster", "local"]):
        done = CliRunner().invoke(app, ["generate", "lotka_volterra", *given, "--out", str(tmp_path)])
        assert done.exit_code == 0, done.output
    assert [c["cluster"] for c in calls] == ["local", "local"]
    assert "which a cluster implies" in " ".join(CliRunner().invoke(app, ["generate", "--help"]).output.split())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_generate_shows_its_progress_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import leads
    from leads.trajectories import load

    want = leads.generate(leads.make("lotka_volterra"))
    for screen in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setattr(sys, "argv", ["leads", "generate", "lotka_volterra", "--out", str(tmp_path)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
        assert ("5/5" in screen.getvalue() and "sets" in screen.getvalue()) is screen.isatty()
    for name in ("train", "valid", "test", "adapt", "adapt_test"):
        got = load(tmp_path / f"{name}.nc")
        assert bool((got.states == getattr(want, name).states).all())
        assert got.attributes == getattr(want, name).attributes


def test_convert(tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    import leads
    from leads.trajectories import load, read, save

    data = leads.generate(leads.make("lotka_volterra")).adapt
    save(data, tmp_path / "a.nc")
    save(data.select(environments=[1, 0]), tmp_path / "b.zarr")
    files = [str(tmp_path / name) for name in ("a.nc", "b.zarr", "c.nc")]
    assert CliRunner().invoke(app, ["convert", *files]).exit_code == 0
    both = load(tmp_path / "c.nc")
    assert bool((both.states == data.states[[0, 1, 2, 3, 1, 0]]).all())
    target = str(tmp_path / "d.npz")
    done = CliRunner().invoke(app, ["convert", files[0], target, "--format", "numpy", "--from", "netcdf"])
    assert done.exit_code == 0, done.output
    assert bool((read(target, "numpy").states == data.states).all())
    assert "Did you mean 'numpy'" in refused("convert", files[0], target, "--format", "nunpy")


def test_convert_names_its_own_option_for_missing_values(tmp_path: Path, refused) -> None:  # type: ignore[no-untyped-def]
    states = np.ones((1, 1, 3, 2))
    states[0, 0, 1, 0] = np.nan
    np.savez(tmp_path / "a.npz", states=states, times=np.arange(3.0))
    files = [str(tmp_path / "a.npz"), str(tmp_path / "b.nc")]
    message = refused("convert", *files)
    assert "add --mask-nan to mark them" in message
    assert "mask_nan=" not in message
    assert CliRunner().invoke(app, ["convert", *files, "--mask-nan"]).exit_code == 0
    mask = leads.trajectories.load(tmp_path / "b.nc").mask
    assert mask is not None
    assert int((~mask).sum()) == 1


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_the_list_of_families_is_not_cut(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    done = CliRunner().invoke(app, ["list"])
    assert done.exit_code == 0, done.output
    assert "\N{HORIZONTAL ELLIPSIS}" not in done.output
    assert max(map(len, done.output.splitlines())) <= int(columns)
    if columns != "60":  # nor are words broken
        for name in leads.list_families():
            for variant in splits(name):
                assert name in done.output
                assert variant.split in done.output
                assert all(p.name in done.output for p in variant.system.parameters if varies(variant, p.name))


def varies(family: EnvironmentFamily, name: str) -> bool:
    i = [p.name for p in family.system.parameters].index(name)
    return family.split == splits(family.name)[0].split and len(family.seen[:, i].unique()) > 1


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
    for command in ("list", "generate", "convert", "fit", "adapt", "evaluate", "report"):
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
    listed = CliRunner().invoke(app, ["list"]).output
    assert all(word in listed for word in ("gray_scott", "geps", "conv", "low_rank", "one_per_environment", "rk4"))


def test_tab_completes_overrides() -> None:
    from leads.cli.completion import complete_override

    assert complete_override("method=co") == ["method=coda"]
    assert "experiment=lotka_volterra_coda" in complete_override("experiment=lotka")
    assert complete_override("nothing_like_it") == []


def test_a_family_has_a_card(refused) -> None:  # type: ignore[no-untyped-def]
    out = CliRunner().invoke(app, ["list", "pendulum", "--markdown"]).stdout
    assert "dv/dt = -omega0^2 sin(theta) - alpha v + f0 cos(w_f t)" in out
    assert "| omega0 | rad s-1 | 0.5, 0.7 | 0 to 10 | natural frequency |" in out
    assert "| aphynity |" in out
    assert "Args" not in out
    assert "Did you mean 'pendulum'" in refused("list", "pendulm")


def test_every_family_can_be_chosen_and_completed() -> None:
    import leads
    from leads.cli.completion import complete_family

    assert complete_family("") == leads.list_families()
    assert complete_family("lotka") == ["lotka_volterra"]

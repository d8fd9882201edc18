"""Training on two processes equals training on one, and the death of one is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_script import SETTINGS, model_and_data

import leads
from leads.errors import UnknownNameError
from leads.training.fit import _Run
from leads.training.processes import Processes
from leads.training.settings import TrainerSettings
from leads.trajectories.segments import windows

HERE = Path(__file__).parent
SCRIPT = HERE / "distributed_script.py"


def torchrun(what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    return subprocess.run([*command, what, str(folder)], capture_output=True, text=True, timeout=300, check=False)


def alone(method: str) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    model, train, valid = model_and_data(method)
    result = leads.fit(model, train, valid, **SETTINGS)
    return model.state_dict(), result.history


def test_two_processes_equal_one_to_rounding(tmp_path: Path) -> None:
    done = torchrun("trains", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for method in ("coda", "leads", "anil"):
        weights, history = alone(method)
        for split in ("environments", "trajectories"):
            theirs, rows = torch.load(tmp_path / f"{split}_{method}.pt")
            for name, value in weights.items():
                torch.testing.assert_close(theirs[name], value, rtol=1e-9, atol=1e-11, msg=f"{split} {method} {name}")
            for ours, other in zip(history, rows, strict=True):
                assert other["loss"] == pytest.approx(ours["loss"], rel=1e-9)
                assert other["valid"] == pytest.approx(ours["valid"], rel=1e-9)
            # One process wrote, whole files.
            assert leads.load_model(tmp_path / f"{split}_{method}" / "model.safetensors").recipe["algorithm"] == method


def test_a_dead_process_ends_the_run_named_and_with_a_whole_checkpoint(tmp_path: Path) -> None:
    done = torchrun("dies", tmp_path)
    assert done.returncode != 0
    assert "rank      : 1" in done.stderr
    assert "exitcode  : 3" in done.stderr
    # The same run on one process goes on from the checkpoint to the numbers of an unbroken one.
    model, train, valid = model_and_data("coda")
    leads.fit(model, train, valid, run_dir=tmp_path / "dies", **SETTINGS)
    for name, value in alone("coda")[0].items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-9, atol=1e-11)


def test_the_command_line_under_torchrun(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "leads.cli",
    ]
    settings = ["experiment=lotka_volterra_coda", "trainer.steps=3", "device=cpu", "split=trajectories"]
    done = subprocess.run(
        [*command, "fit", *settings, f"run_dir={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("adaptation") == 1
    assert (tmp_path / "run" / "evaluation.json").exists()


class Pretended:
    """A fabric of several processes, of which this is one."""

    def __init__(self, rank: int, size: int) -> None:
        self.global_rank, self.world_size, self.device = rank, size, torch.device("cpu")


@pytest.mark.parametrize("split", ["environments", "trajectories"])
@pytest.mark.parametrize("loss", ["mse", "relative_l2"])
def test_parts_sum_to_the_whole(split: str, loss: str) -> None:
    """More processes than environments, windows with times of their own, values that are missing."""
    data = leads.generate(leads.make("pendulum")).train.select(environments=[0, 1], trajectories=[0, 1, 2])
    data = data.select(frames=slice(0, 8))
    mask = torch.rand(data.states.shape, generator=torch.Generator().manual_seed(0)) > 0.3
    mask[:, :, 0] = True
    data = leads.Trajectories(torch.where(mask, data.states, 0.0), data.times, data.parameters, mask=mask)
    data = data.to(dtype=torch.float64)
    segments = windows(data, 3)
    model = leads.build("coda", data, backbone_settings={"width": 8}, seed=0).double()
    model.loss = loss
    contexts = {"code": torch.randn(2, 2, dtype=torch.float64)}
    whole = model.loss_per_environment(segments, contexts).mean()
    parts = [Processes(Pretended(r, 3), split).part(segments, loss) for r in range(3)]  # type: ignore[arg-type]
    total = sum(
        (p.weights * model.loss_per_environment(p.segments, p.contexts(contexts))).sum() for p in parts if len(p.rows)
    )
    torch.testing.assert_close(total, whole)


@pytest.mark.parametrize(("split", "size"), [("environments", 3), ("trajectories", 4)])
def test_a_process_without_a_row_adds_nothing(split: str, size: int) -> None:
    data = leads.generate(leads.make("lotka_volterra")).train.select(environments=[0, 1], trajectories=[0, 1])
    model = leads.build("coda", data, backbone_settings={"width": 8}, seed=0)
    model.source.begin(data)
    processes = Processes(Pretended(size - 1, size), split)  # type: ignore[arg-type]
    processes.wait = lambda: None  # type: ignore[method-assign]
    run = _Run(model, data, None, TrainerSettings(horizons=(0,)), None, None, processes)
    losses, added = run._loss(run.episodes.draw(0), model.source.train_contexts(model, None, data))
    assert losses.tolist() == [0.0, 0.0]
    assert float(added.detach()) == 0.0


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(UnknownNameError, match="environments"):
        Processes(Pretended(0, 2), "enviroments")  # type: ignore[arg-type]

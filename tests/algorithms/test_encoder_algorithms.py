"""Encoders in whole runs: styles from a code, frames as input, the published turbulence in small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import leads
from leads.cli.hydra import compose
from leads.contexts import SupervisedEncoder
from leads.dynamics import DecomposedDynamics
from leads.evaluation.report import write_report
from leads.experiment import Run, run_fit
from leads.trajectories import Trajectories

F64 = torch.float64


def planes() -> Trajectories:
    x = torch.randn(2, 2, 9, 1, 8, 8, dtype=F64, generator=torch.Generator().manual_seed(0)).float()
    return Trajectories(x, torch.arange(9, dtype=F64), torch.tensor([[0.0], [1.0]], dtype=F64))


def forecaster(dim: int = 16) -> DecomposedDynamics:
    return leads.build(
        "dyad", planes(), "style_resnet", {"width": 4, "blocks": 2}, method="map", history=3, dim=dim, encoder_width=4,
        encoder_depth=2,
    )  # fmt: skip


def test_the_code_is_the_style_and_nothing_else() -> None:
    """gain = 1 + G z, shift = H z, pad = P z with fresh linear maps of z, whose entries are of size 1."""
    model = forecaster(512)
    z = torch.randn(4, 512, generator=torch.Generator().manual_seed(0))
    own = model.adapter.backbone.own_weights()  # type: ignore[union-attr]
    weights = [model.adapter.prepare({"code": c / 512**0.5}) for c in z]
    styles = []
    for name, w in own.items():
        moved = torch.stack([q[name] - w for q in weights]).detach()
        if name.startswith(("norms.", "pads.")):
            styles.append(moved.flatten())
            assert float(moved.abs().min()) > 0
        else:
            assert float(moved.abs().max()) == 0
    # Uniform on [-1, 1] / sqrt(512), times 512 numbers of variance 1: variance 1/3.
    assert float(torch.cat(styles).square().mean()) == pytest.approx(1 / 3, rel=0.15)
    assert own["norms.0.gain"].tolist() == [1.0] * 4
    assert own["convs.0.weight"].shape[1] == 3


def test_pads_can_be_left_out() -> None:
    model = leads.build(
        "dyad", planes(), "style_unet", {"width": 4}, dim=8, encoder_width=4, encoder_depth=2, pads=False
    )
    own = model.adapter.backbone.own_weights()  # type: ignore[union-attr]
    moved = {k for k, w in model.adapter.prepare({"code": torch.ones(8)}).items() if not torch.equal(w, own[k])}
    assert moved == {k for k in own if ".norms." in k}


def test_rolls_out_from_past_frames_in_both_stages(tmp_path: Path) -> None:
    data, model = planes(), forecaster()
    with torch.no_grad():
        before = float(model.loss_per_environment(data, model.source.new_contexts(model, data)).mean())
    leads.fit(model, data, data, steps=40, source_steps=10, horizons=(3,), lr=3e-3, validate_every=10)
    adapted = leads.adapt(model, data)
    assert sum(adapted.info["loss"]) / 2 < before
    forecast = adapted.forecast(data.first(3), data.times[2:])
    assert forecast.shape == (2, 2, 7, 1, 8, 8)
    adapted.save(tmp_path / "a.safetensors")
    again = leads.Adapted.load(tmp_path / "a.safetensors")
    assert torch.equal(again.forecast(data.first(3), data.times[2:]), forecast)
    more = leads.adapt(model, replace(data, parameters=None), solver="gradient", steps=3)
    assert sum(more.info["loss"]) <= sum(adapted.info["loss"])


def test_published_turbulence_composes_and_runs_in_small(tmp_path: Path) -> None:
    full = compose(["experiment=turbulence_dyad"])
    assert (full.integrator, full.history, full.method.settings["frames"]) == ("map", 20, 20)
    assert (full.method.settings["dim"], full.backbone.settings["blocks"], full.trainer.horizons) == (512, 8, [3])
    small = [
        "family.settings.split=plumes", "family.settings.size=16", "backbone.settings.width=2", "backbone.settings.blocks=2",
        "method.settings.dim=8", "method.settings.encoder_width=2", "method.settings.encoder_depth=2",
        "method.settings.frames=4", "history=4", "data.window=8", "data.stride=8", "data.valid_from=30",
        "data.test_from=34", "data.new_until=20", "trainer.steps=2", "trainer.source_steps=2", "trainer.validate_every=1",
        "progress=false", f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    run = Run(run_fit(compose(["experiment=turbulence_dyad", *small])))
    assert run.data.train.states.shape == (20, 24, 8, 2, 16, 16)
    model = run.model()
    assert isinstance(model.source, SupervisedEncoder)
    assert bool(model.source.frozen)
    assert model.history == 4
    scores = run.evaluation()
    assert scores["adaptation"].scores["all"]["rmse"] < 20
    assert len(scores["in-domain"].times) == 5
    page = write_report([run.report("run", [])], tmp_path / "report.html", adaptation=0)
    assert Path(page).stat().st_size > 50_000


@pytest.mark.parametrize("method", ["dyad", "amortised"])
def test_lotka_volterra_runs_report(tmp_path: Path, method: str) -> None:
    quick = ["trainer.steps=4", "trainer.validate_every=2", "backbone.settings.width=8", "progress=false"]
    if method == "dyad":
        quick += ["trainer.source_steps=4"]
    run = Run(run_fit(compose([f"experiment=lotka_volterra_{method}", *quick, f"run_dir={tmp_path / 'run'}"])))
    assert run.evaluation()["adaptation"].scores["all"]["mse"] > 0
    assert Path(write_report([run.report("run", [])], tmp_path / "report.html", adaptation=0)).stat().st_size > 50_000

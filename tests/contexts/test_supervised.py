"""Encoders that are told a little: the objective by hand, what training does to it, and the stage before the model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import leads
from leads.adapters.linear_hyper import LinearHyper
from leads.backbones import backbones
from leads.contexts import SupervisedEncoder
from leads.contexts.labels import labels, labels_of
from leads.dynamics import DecomposedDynamics
from leads.environments import Budget, Channel, EnvironmentFamily, Grid
from leads.errors import DataError, DivergenceError, SettingsError, UnknownNameError
from leads.training.settings import TrainerSettings
from leads.trajectories import DataSplits, Trajectories
from leads.trajectories.segments import whole

F64 = torch.float64
SMALL: dict[str, Any] = {
    "dim": 8,
    "encoder_width": 32,
    "encoder_depth": 2,
    "backbone_settings": {"width": 8, "depth": 2},
}


@pytest.fixture(scope="module")
def tiny(lotka: EnvironmentFamily) -> DataSplits:
    return leads.generate(replace(lotka, budget=Budget(train=4, test=2, valid=2, adapt=1, adapt_test=2)))


@pytest.fixture(scope="module")
def heat() -> DataSplits:
    family = leads.make("heat", size=16)
    return leads.generate(replace(family, budget=Budget(train=16, test=2, valid=4, adapt=4, adapt_test=2)), cache=False)


def encoder(shape: tuple[int, ...] = (2,), **settings: Any) -> SupervisedEncoder:
    adapter = LinearHyper(lambda: backbones["mlp" if len(shape) == 1 else "conv"](shape, width=6), 3)
    torch.manual_seed(0)
    return SupervisedEncoder(adapter, shape, **{"frames": 4, "width": 8, "depth": 1, **settings}).double()


def test_the_objective_by_hand(tiny: DataSplits) -> None:
    data = tiny.train.to(dtype=F64)
    source = encoder(label=["beta", "delta"], label_weight=0.7, invariance=0.3, size=0.2, samples=3)
    source.begin(data)
    with torch.no_grad():
        found = source.pretext(data)(whole(data))  # type: ignore[misc]
    parameters = data.parameters
    assert parameters is not None
    assert source.read is not None
    c = (parameters[:, [1, 3]] - 0.75) / (1 / 24) ** 0.5  # 0.5, 0.75 and 1, a third of the environments each
    for e in (0, 4, 7):
        z = torch.stack([source.encode(data.states[e, n, j : j + 4]) for n in range(4) for j in (0, 8, 16)])
        label = (source.read(z) - c[e]).square().sum(1).mean()
        change = sum((z[i + 1] - z[i]).square().mean() for i in range(11)) / 11
        size = (z.square().mean(1) - 1).square().mean()
        torch.testing.assert_close(found[e], 0.7 * label + 0.3 * change + 0.2 * size)


def test_gradients_of_the_objective(tiny: DataSplits) -> None:
    data = tiny.train.to(dtype=F64).select(environments=[0, 1, 8], trajectories=slice(0, 2), frames=slice(0, 7))
    source = encoder(label=["beta"])
    source.begin(data)
    go = lambda *_: source.pretext(data)(whole(data))  # type: ignore[misc]
    assert torch.autograd.gradcheck(go, tuple(source.parameters()), atol=1e-6)


def spread_in_time(source: SupervisedEncoder, data: Trajectories) -> float:
    """Variance of encodings within environments over that between them."""
    starts = source.starts(data.times)
    with torch.no_grad():
        z = source.encode(*source.windows_at(data.states, None, starts)).flatten(1, 2)
    return float(z.var(1).sum() / z.mean(1).var(0).sum())


@pytest.mark.parametrize("label_weight", [0.0, 1.0])
def test_encodings_come_to_rest_in_time(tiny: DataSplits, label_weight: float) -> None:
    """The environments are constant, so encodings should be, beside their differences between environments."""
    ratios = []
    for invariance in (0.0, 1.0):
        model = leads.build("dyad", tiny.train, label="beta", label_weight=label_weight, invariance=invariance, **SMALL)
        source = model.source
        assert isinstance(source, SupervisedEncoder)
        source.begin(tiny.train)
        before = spread_in_time(source, tiny.valid)
        leads.fit(model, tiny.train, tiny.valid, steps=1, source_steps=250, lr=1e-2, validate_every=50)
        ratios.append(spread_in_time(source, tiny.valid))
    assert ratios[1] < 0.3 * before
    assert ratios[1] < 0.7 * ratios[0]


@pytest.mark.parametrize("name", ["tiny", "heat"])
def test_parameters_are_recovered_in_environments_never_seen(name: str, request: pytest.FixtureRequest) -> None:
    """From trajectories never seen, better than the mean of the seen environments; there and in new ones."""
    data: DataSplits = request.getfixturevalue(name)
    known, specs = data.train.parameters, [p.name for p in data.train.parameter_specs]
    assert known is not None
    if name == "tiny":
        label, most, backbone, settings = ["beta", "delta"], (0.5, 0.6), "mlp", {}
    else:
        label, most, backbone, settings = ["D", "r"], (0.6, 0.85), "conv", {"frames": 10, "encoder_width": 16}
    model = leads.build("dyad", data.train, backbone, label=label, windows=16, **{**SMALL, "backbone_settings": {"width": 8}, **settings})  # fmt: skip
    assert isinstance(model.source, SupervisedEncoder)
    batch = 0 if name == "tiny" else 4
    leads.fit(
        model, data.train, data.valid, steps=1, source_steps=200, lr=1e-2, validate_every=50, average=0.98, batch=batch
    )
    columns = [specs.index(q) for q in label]
    for part, share in ((data.valid, most[0]), (data.adapt, most[1])):
        truth = part.parameters[:, columns]  # type: ignore[index]
        error = (model.source.predict(part) - truth).square().mean(0).sqrt()
        prior = (known[:, columns].mean(0) - truth).square().mean(0).sqrt()
        assert bool((error < share * prior).all()), (error / prior).tolist()


def test_the_encoder_is_held_in_the_second_stage(tiny: DataSplits, tmp_path: Path) -> None:
    model = leads.build("dyad", tiny.train, label=["beta"], **SMALL)
    leads.fit(model, tiny.train, tiny.valid, steps=5, source_steps=20, validate_every=5, lr=1e-2, run_dir=tmp_path)
    assert bool(model.source.frozen)  # type: ignore[union-attr]
    assert [r["step"] for r in json.loads((tmp_path / "source" / "history.json").read_text())] == [5, 10, 15, 20]
    held = {k: v.clone() for k, v in model.source.state_dict().items()}
    before = [p.detach().clone() for p in model.adapter.parameters()]
    result = leads.fit(model, tiny.train, tiny.valid, steps=100, lr=1e-2, horizons=(1,), validate_every=25)
    assert all(torch.equal(v, held[k]) for k, v in model.source.state_dict().items())
    assert any(not torch.equal(p, q) for p, q in zip(model.adapter.parameters(), before, strict=True))
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    again = leads.load_model(tmp_path / "model.safetensors")
    assert bool(again.source.frozen)  # type: ignore[union-attr]
    torch.testing.assert_close(again.source.predict(tiny.adapt), model.source.predict(tiny.adapt))  # type: ignore[operator]


def test_together_in_one_stage(tiny: DataSplits) -> None:
    model = leads.build("dyad", tiny.train, label=["beta"], stages=1, **SMALL)
    source = model.source
    assert isinstance(source, SupervisedEncoder)
    source.begin(tiny.train)
    with torch.no_grad():
        before = float(source.penalty(tiny.train))
    leads.fit(model, tiny.train, tiny.valid, steps=100, lr=1e-2, horizons=(1,), validate_every=25)
    assert not bool(source.frozen)
    with torch.no_grad():
        assert float(source.penalty(tiny.train)) < 0.5 * before


@pytest.mark.parametrize("stage", ["source", "model"])
def test_a_killed_run_resumes_to_the_same_numbers(
    tiny: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    build = lambda: leads.build("dyad", tiny.train, label=["beta"], samples=3, **SMALL)
    settings = TrainerSettings(
        steps=12, source_steps=12, validate_every=2, checkpoint_every=4, horizons=(2,), average=0.5, batch=2
    )
    straight = build()
    rows = leads.fit(straight, tiny.train, tiny.valid, settings, tmp_path / "a").history
    assert float(straight.source.draws) > 0  # type: ignore[arg-type]

    killed, steps = build(), iter(range(100))
    kind = SupervisedEncoder
    name = "objective" if stage == "source" else "train_contexts"
    original = getattr(kind, name)

    def kill(self: Any, *args: Any, **settings: Any) -> Any:
        if torch.is_grad_enabled() and next(steps) == 6:
            shutil.copytree(tmp_path / "b", tmp_path / "c")
            raise KeyboardInterrupt
        return original(self, *args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(kind, name, kill)
        with pytest.raises(KeyboardInterrupt):
            leads.fit(killed, tiny.train, tiny.valid, settings, tmp_path / "b")
    assert (tmp_path / "c" / "checkpoint.safetensors").exists() == (stage == "model")
    resumed = build()
    rest = leads.fit(resumed, tiny.train, tiny.valid, settings, tmp_path / "c").history
    assert [(r["loss"], r["valid"]) for r in rest] == [(r["loss"], r["valid"]) for r in rows]
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in straight.state_dict().items())


def test_labels_against_exact_ones() -> None:
    """Vorticity of solid rotation is twice its rate, wherever the axes stand; the mean is a mean."""
    y, x = torch.meshgrid(torch.arange(6, dtype=F64), 2 * torch.arange(5, dtype=F64), indexing="ij")
    rate = torch.tensor([0.5, -3.0], dtype=F64)[:, None, None, None, None]
    u, v = -rate * y, rate * x
    states = torch.stack([u, v], 3).expand(2, 1, 2, 2, 6, 5)
    times = torch.arange(2, dtype=F64)
    data = Trajectories(states, times, channels=(Channel("u"), Channel("v")), grid=Grid((6, 5), (1.0, 2.0), ("y", "x")))
    torch.testing.assert_close(labels["vorticity"](data), torch.tensor([1.0, 6.0], dtype=F64))
    named = replace(data, states=states.flip(3), channels=(Channel("v"), Channel("u")))
    torch.testing.assert_close(labels["vorticity"](named), torch.tensor([1.0, 6.0], dtype=F64))
    torch.testing.assert_close(labels["mean"](data), -rate.flatten() * 2.5)
    half = replace(data, mask=(y < 3).expand_as(states))
    torch.testing.assert_close(labels["mean"](half), -rate.flatten() * 1.0)


def test_vorticity_against_numpy_and_the_system() -> None:
    family = leads.make("turbulence", split="plumes", size=16)
    family = replace(
        family, seen=family.seen[[0, 9, 19]], times=family.times[:6], budget=Budget(train=1, test=1, valid=1)
    )
    train = leads.generate(family, cache=False, dtype=F64).train
    found = labels_of(train, ["vorticity"])[:, 0]
    for e in range(3):
        w, u = train.states[e, :, :, 0].numpy(), train.states[e, :, :, 1].numpy()
        curl = np.gradient(u, 4.0, axis=-2) - np.gradient(w, 4.0, axis=-1)
        assert float(found[e]) == pytest.approx(np.abs(curl[..., 1:-1, 1:-1]).mean(), rel=1e-12)
    # On a staggered grid, and with the walls: another number, in the same proportions.
    exact = family.system.diagnostics(train.states, train.parameters)["vorticity"].flatten(1).mean(1)  # type: ignore[arg-type]
    torch.testing.assert_close(found / found[0], exact / exact[0], rtol=0.05, atol=0)


def test_bad_input(tiny: DataSplits) -> None:
    build = lambda **settings: leads.build("dyad", tiny.train, **{**SMALL, **settings})
    for wrong in ({"size": -1.0}, {"size": 0.0, "invariance": 0.0, "label_weight": 0.0}):
        with pytest.raises(SettingsError, match="weights >= 0"):
            build(**wrong)
    with pytest.raises(SettingsError, match="stages is 2"):
        build(stages=3)
    with pytest.raises(SettingsError, match="at least one label"):
        build(label=[])
    with pytest.raises(UnknownNameError, match="Did you mean 'beta'"):
        leads.fit(build(label="betta"), tiny.train, steps=1)
    with pytest.raises(DataError, match="'vorticity' needs a grid"):
        leads.fit(build(label="vorticity"), tiny.train, steps=1)
    unknown = replace(tiny.train, parameters=None)
    with pytest.raises(DataError, match=r"without parameters.*mean, vorticity.*label_weight=0"):
        leads.fit(build(), unknown, steps=1)
    single = tiny.train.select(trajectories=slice(0, 1), frames=slice(0, 5))
    with pytest.raises(SettingsError, match="one window of 5 frames"):
        leads.fit(build(), single, steps=1, horizons=(1,))
    untold = build(label_weight=0.0)
    leads.fit(untold, unknown, steps=1, horizons=(1,))
    with pytest.raises(SettingsError, match="knows no labels"):
        untold.source.predict(tiny.adapt)  # type: ignore[operator]
    with pytest.raises(SettingsError, match="source_steps need to be >= 0"):
        leads.fit(untold, unknown, steps=1, source_steps=-1)
    assert isinstance(untold, DecomposedDynamics)
    wild = build()
    with torch.no_grad():
        for p in wild.source.parameters():
            p.mul_(1e30)
    with pytest.raises(DivergenceError, match=r"objective of the context source.*environment 0.*context_lr"):
        leads.fit(wild, tiny.train, steps=1)

"""Contexts read off frames: any adapter, the right windows, an instant answer that can be improved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import leads
from leads.adapters import adapters
from leads.adapters.linear_hyper import LinearHyper
from leads.adapters.shared import Shared
from leads.backbones import backbones
from leads.contexts import Encoder
from leads.contexts.encoder import spread_evenly
from leads.contexts.window_networks import WindowConv, WindowMLP
from leads.dynamics import DecomposedDynamics
from leads.environments import Budget, EnvironmentFamily
from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.trajectories import DataSplits, Trajectories

F64 = torch.float64
WITH_CONTEXT = [a for a in adapters if a not in ("shared", "hybrid")]


def small(shape: tuple[int, ...] = (2,), **settings: Any) -> DecomposedDynamics:
    name = "mlp" if len(shape) == 1 else "conv"
    adapter = LinearHyper(lambda: backbones[name](shape, width=6), 2)
    return DecomposedDynamics(adapter, Encoder(adapter, shape, **{"width": 8, "spread": 1.0, **settings})).double()


def fresh(shape: tuple[int, ...], environments: int = 3, frames: int = 9) -> Trajectories:
    x = torch.randn(environments, 2, frames, *shape, dtype=F64, generator=torch.Generator().manual_seed(0))
    return Trajectories(x, 0.5 * torch.arange(frames, dtype=F64))


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_every_adapter_starts_at_its_shared_model_and_is_trained(name: str, data: DataSplits) -> None:
    settings = {} if name in ("separate", "additive_field", "weight_delta", "taylor") else {"dim": 3}
    model = leads.build(
        "amortised", data.train, adapter=name, adapter_settings=settings, backbone_settings={"width": 6}
    )
    with torch.no_grad():
        contexts = model.source.train_contexts(model, None, data.train)
    start = model.adapter.init_context()
    assert {k: v.shape[1:] for k, v in contexts.items()} == {k: v.shape for k, v in start.items()}
    assert all(torch.equal(v, v[:1].expand_as(v)) for v in contexts.values())
    if name not in ("separate", "additive_field"):  # which draw their start
        assert all(torch.allclose(v[0], start[k]) for k, v in contexts.items())
    leads.fit(model, data.train, steps=4, horizons=(1,), lr=1e-3)
    with torch.no_grad():
        contexts = model.source.train_contexts(model, None, data.train)
    assert all(float((v[0] - v[-1]).abs().max()) > 0 for v in contexts.values())


def test_hybrids_take_their_parameters_from_the_encoder(data: DataSplits) -> None:
    physics = {"family": "lotka_volterra", "own": {"alpha": 0.6, "beta": 0.6, "gamma": 0.6, "delta": 0.6}}
    model = leads.build(
        "amortised", data.train, adapter="hybrid", adapter_settings={"physics": physics, "adapter": None}, substeps=3
    )
    leads.fit(model, data.train, data.valid, steps=150, horizons=(1, 5), lr=1e-2)
    found = torch.stack(list(model.adapter.physical(leads.adapt(model, data.adapt).contexts).values()), 1)  # type: ignore[operator]
    truth = data.adapt.parameters
    assert truth is not None
    prior = (truth - data.train.parameters.mean(0)).square().mean()  # type: ignore[union-attr]
    assert float((found - truth).square().mean()) < 0.3 * float(prior)


def test_contexts_are_means_over_windows_by_hand() -> None:
    x = fresh((2,))
    model = small(frames=4, windows=3)
    encoder = model.source
    assert isinstance(encoder, Encoder)
    encoder.begin(x)
    flat = x.states.movedim(3, 0).flatten(1)
    mean, std = flat.mean(1), flat.std(1, unbiased=False)
    total = torch.zeros(3, 2, dtype=F64)
    for n in range(2):
        for j in (0, 2, 5):  # of starts 0 to 5
            y = ((x.states[:, n, j : j + 4] - mean) / std).reshape(3, -1)
            for layer in encoder.network.layers:  # type: ignore[union-attr]
                y = torch.nn.functional.silu(layer(y))
            total = total + y @ encoder.out.weight.T / 8**0.5 + encoder.out.bias
    torch.testing.assert_close(model.source.train_contexts(model, None, x)["code"], total / 6)
    one = small(frames=4).source.train_contexts(model, None, x)
    same = small(frames=4).source.train_contexts(model, None, x.select(frames=slice(0, 4)))
    assert one["code"].shape == same["code"].shape == (3, 2)


def test_one_window_is_the_first_frames() -> None:
    x, model = fresh((2, 8, 8)), small((2, 8, 8), frames=4)
    model.source.begin(x)
    whole = model.source.train_contexts(model, None, x)["code"]
    first = model.source.new_contexts(model, x.select(frames=slice(0, 4)))["code"]
    assert torch.equal(whole, first)
    assert not first.requires_grad
    alone = model.source.new_contexts(model, x.select(environments=[1]))["code"]
    torch.testing.assert_close(alone[0], first[1])
    assert spread_evenly(torch.arange(10), 4).tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize("shape", [(2,), (2, 8), (1, 6, 9)])
def test_networks_and_gradients(shape: tuple[int, ...]) -> None:
    x, model = fresh(shape, frames=5), small(shape, frames=4, width=4)
    encoder, parameters = model.source, list(model.source.parameters())
    go = lambda states, *_: encoder.train_contexts(model, None, replace(x, states=states))["code"]
    assert torch.autograd.gradcheck(go, (x.states.clone().requires_grad_(), *parameters), atol=1e-6)
    conv = WindowConv(shape, 3, 3).double()
    assert conv(x.states[:, 0, :4]).shape == (3, 12)
    plain = WindowMLP(shape, 4, 7, 2).double()
    assert plain(x.states[:, 0, :4]).shape == (3, 7)


def test_published_encoder_has_its_size() -> None:
    """19.12 million parameters, of which batch normalisation, which ours has not, is 3,840; two channels, a code of 512."""
    conv = WindowConv((2, 64, 64), 128, 4)
    count = sum(p.numel() for p in conv.parameters()) + 1024 * 512 + 512 + 512 + 1 + 3840
    assert abs(count / 19.12e6 - 1) < 0.01


def test_a_piece_at_a_time_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, model = fresh((2, 8)), small((2, 8), frames=4, windows=6)
    whole = model.source.train_contexts(model, None, x)["code"].detach()
    monkeypatch.setattr("leads.contexts.encoder.AT_ONCE", 3 * 4 * 2 * 8)
    torch.testing.assert_close(model.source.new_contexts(model, x)["code"], whole)


def test_what_was_not_observed_does_not_matter() -> None:
    x, model = fresh((2,)), small(frames=4, windows=2)
    mask = torch.ones_like(x.states, dtype=torch.bool)
    mask[:, :, 1, 0] = False
    other = x.states.clone()
    other[:, :, 1, 0] = torch.nan
    with_nan = replace(x, states=other, mask=mask)
    model.source.begin(with_nan)
    a = model.source.train_contexts(model, None, replace(x, mask=mask))["code"]
    b = model.source.train_contexts(model, None, with_nan)["code"]
    assert torch.equal(a, b)
    assert bool(torch.isfinite(torch.autograd.grad(b.sum(), model.source.out.weight)[0]).all())  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def tiny(lotka: EnvironmentFamily) -> DataSplits:
    few = replace(lotka, budget=Budget(train=4, test=2, valid=2, adapt=1, adapt_test=2))
    return leads.generate(few)


@pytest.mark.parametrize("adapter", ["linear_hyper", "low_rank", "concat"])
def test_an_instant_answer_and_a_start(tiny: DataSplits, adapter: str, tmp_path: Path) -> None:
    model = leads.build(
        "amortised", tiny.train, adapter=adapter, adapter_settings={"dim": 2}, windows=8,
        backbone_settings={"width": 16, "depth": 2},
    )  # fmt: skip
    leads.fit(model, tiny.train, tiny.valid, steps=200, lr=1e-2, average=0.98, validate_every=50, horizons=(1, 5, 0))
    shared = {k: v.clone() for k, v in model.state_dict().items()}
    instant = leads.adapt(model, tiny.adapt)
    assert instant.info["solver"] == "none"
    start = {k: torch.zeros_like(v) for k, v in instant.contexts.items()}
    with torch.no_grad():
        nothing = float(model.loss_per_environment(tiny.adapt, start).mean())
    assert sum(instant.info["loss"]) / 4 < 0.5 * nothing
    further = leads.adapt(model, tiny.adapt, solver="levenberg_marquardt")
    assert sum(further.info["loss"]) < 0.8 * sum(instant.info["loss"])
    near = leads.adapt(model, tiny.adapt, solver="levenberg_marquardt", prior=1e4)
    torch.testing.assert_close(near.contexts["code"], instant.contexts["code"], atol=1e-3, rtol=0)
    assert all(torch.equal(v, shared[k]) for k, v in model.state_dict().items())
    instant.save(tmp_path / "a.safetensors")
    again = leads.Adapted.load(tmp_path / "a.safetensors")
    x0, t = tiny.adapt.initial, tiny.adapt.times
    assert torch.equal(again.forecast(x0, t), instant.forecast(x0, t))
    # What was loaded reads the same off the same frames: scales and distances of frames are part of the model.
    assert torch.equal(leads.adapt(again.model, tiny.adapt).contexts["code"], instant.contexts["code"])


def test_support_and_query_are_parted(tiny: DataSplits) -> None:
    """The encoder reads the support alone: other query trajectories move the loss, not the contexts."""
    seen: list[torch.Tensor] = []
    model = leads.build("amortised", tiny.train, backbone_settings={"width": 6})
    original = model.source.train_contexts

    def watch(m: Any, environments: Any, support: Trajectories, segments: Any = None) -> Any:
        seen.append(support.states)
        return original(m, environments, support, segments)

    model.source.train_contexts = watch  # type: ignore[method-assign]
    leads.fit(model, tiny.train, steps=1, horizons=(1,), support=1)
    leads.fit(model, tiny.train, steps=1, horizons=(1,), support_frames=6)
    assert [tuple(s.shape[1:3]) for s in seen] == [(1, 20), (4, 6)]


def test_bad_input(data: DataSplits) -> None:
    make = lambda: backbones["mlp"]((2,), width=4)
    with pytest.raises(SettingsError, match=r"Shared has no context.*linear_hyper"):
        Encoder(Shared(make), (2,))
    for wrong in ({"frames": 1}, {"windows": 0}, {"width": 0}, {"depth": 0}):
        with pytest.raises(SettingsError, match="frames >= 2"):
            Encoder(LinearHyper(make), (2,), **wrong)
    with pytest.raises(UnknownNameError, match="Did you mean 'conv'"):
        Encoder(LinearHyper(make), (2,), network="cnov")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="network='mlp'"):
        WindowConv((1, 4, 4, 4), 4, 2)
    model = leads.build("amortised", data.train, frames=6, backbone_settings={"width": 4})
    with pytest.raises(DataError, match=r"reads 6 consecutive frames.*T = 4.*frames=4"):
        leads.fit(model, data.train.select(frames=slice(0, 4)), steps=1)
    with pytest.raises(DataError, match=r"reads 6 consecutive frames.*T = 5"):
        leads.fit(model, data.train, steps=1, support_frames=5)
    leads.fit(model, data.train, steps=1, horizons=(1,))
    with pytest.raises(DataError, match=r"reads 6 consecutive frames.*T = 3"):
        leads.adapt(model, data.adapt.select(frames=slice(0, 3)))
    slower = replace(data.adapt, times=2 * data.adapt.times)
    with pytest.raises(DataError, match=r"trained on frames 0\.5 apart; those it is given are 1 apart"):
        leads.adapt(model, slower)
    with pytest.raises(ShapeError, match="2 environments are asked for"):
        model.source.train_contexts(model, torch.tensor([0, 1]), data.adapt)
    with pytest.raises(SettingsError, match=r"data=data\.train"):
        leads.trained(model)
    with pytest.raises(SettingsError, match="adapter 'low_rank' does not take"):
        leads.build("amortised", data.train, adapter="low_rank", adapter_settings={"dims": 2})
    with pytest.raises(UnknownNameError, match="linear_hyper"):
        leads.build("amortised", data.train, adapter="linear_hyperr")

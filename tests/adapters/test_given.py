"""Physical parameters that are known in every environment: read from the data, never trained, never adapted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import leads
from leads.adaptation import Adapted
from leads.adaptation.adapted import trained
from leads.adapters.hybrid import hybrid
from leads.adapters.taylor import Taylor
from leads.backbones import backbones
from leads.contexts import NeighbourTable
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, SettingsError
from leads.trajectories import DataSplits

HALF = {"alpha": 0.8, "gamma": 0.8}
PHYSICS: dict[str, Any] = {"family": "lotka_volterra", "given": ["delta", "beta"]}


def build(data: DataSplits, **physics: Any) -> DecomposedDynamics:
    return leads.build("aphynity", data.train, physics={**PHYSICS, **physics}, network=False, substeps=4)


@pytest.mark.parametrize("solver", ["levenberg_marquardt", "gradient"])
def test_the_others_are_found_beside_them(data: DataSplits, solver: str) -> None:
    model = build(data, own=HALF)
    steps = {"steps": 120, "lr": 0.1} if solver == "gradient" else {}
    short = replace(data.adapt, states=data.adapt.states[:, :, :6], times=data.adapt.times[:6])
    adapted = leads.adapt(model, short, solver=solver, **steps)
    truth = data.adapt.parameters
    assert truth is not None
    assert torch.equal(adapted.contexts["given"], truth[:, [3, 1]].float())
    found = torch.stack(list(model.adapter.physical(adapted.contexts).values()), 1)  # type: ignore[operator]
    assert float((found - truth).abs().max()) < (
        1e-4 if solver == "levenberg_marquardt" else 5e-2
    )  # of 0.3 at the start


def test_training_learns_what_is_shared_and_reads_the_rest(data: DataSplits, tmp_path: Path) -> None:
    model = build(data, shared=HALF)
    leads.fit(model, data.train, data.valid, steps=120, lr=0.05, horizons=(2,), validate_every=40)
    values = model.adapter.physical(model.source.train_contexts(model, None, data.train))  # type: ignore[operator]
    assert [float(values[k].detach()) for k in HALF] == pytest.approx([0.5, 0.5], abs=1e-2)
    seen = trained(model, data.train.parameters)
    forecast = seen.forecast(data.test.initial, data.test.times)
    assert float((forecast - data.test.states).square().mean()) < 1e-2
    adapted = leads.adapt(model, data.adapt)
    assert adapted.info["solver"] == "none"
    adapted.save(tmp_path / "a.safetensors")
    again = Adapted.load(tmp_path / "a.safetensors")
    x0, t = data.adapt.initial, data.adapt.times
    assert torch.equal(again.forecast(x0, t), adapted.forecast(x0, t))
    assert float((adapted.forecast(x0, t) - data.adapt.states).square().mean()) < 1e-2


def test_ensembles_vary_what_was_found_alone(data: DataSplits) -> None:
    noisy = replace(data.adapt, states=data.adapt.states + 0.01 * torch.randn(data.adapt.states.shape, generator=torch.Generator().manual_seed(0)))  # fmt: skip
    adapted = leads.adapt(build(data, own=HALF), noisy)
    assert adapted.covariance is not None
    assert adapted.covariance.shape == (4, 2, 2)
    members = adapted.ensemble(noisy.initial, noisy.times, n=16)
    assert members.shape == (16, *noisy.states.shape)
    spread = (members.mean(0) - adapted.forecast(noisy.initial, noisy.times)).abs().max()
    assert 0 < float(spread) < 0.1


def test_bad_input(data: DataSplits) -> None:
    model = build(data, own=HALF)
    with pytest.raises(DataError, match="delta, beta"):
        leads.adapt(model, replace(data.adapt, parameters=None))
    with pytest.raises(DataError, match="shape"):
        leads.fit(model, replace(data.train, parameters=data.train.parameters[:, :2]), steps=1)  # type: ignore[index]
    with pytest.raises(SettingsError, match="none or several: beta"):
        build(data, own={**HALF, "beta": 0.5})


def test_true_physics_alone_has_nothing_to_train_but_forecasts(data: DataSplits) -> None:
    model = build(data, fixed={"alpha": 0.5, "gamma": 0.5})
    with pytest.raises(SettingsError, match="nothing to train"):
        leads.fit(model, data.train, steps=1)
    adapted = leads.adapt(model, data.adapt_test)
    forecast = adapted.forecast(data.adapt_test.initial, data.adapt_test.times)
    assert float((forecast - data.adapt_test.states).abs().max()) < 1e-3


def test_they_stay_where_the_rest_is_expanded(data: DataSplits) -> None:
    own = lambda: hybrid(lambda: backbones["mlp"]((2,), width=4), {**PHYSICS, "own": HALF}, None)
    adapter = Taylor(own(), order=2).double()
    source = NeighbourTable(adapter, 9).double()
    with torch.no_grad():
        source.values["physics"].add_(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)) * 0.1)
    contexts = source.train_contexts(DecomposedDynamics(adapter, source), None, data.train)
    x, t = data.train.initial.double(), torch.zeros((), dtype=torch.float64)
    got = adapter.forward_all(t, x, adapter.prepare_all(contexts))
    plain = adapter.field.forward_all(
        t, x, adapter.field.prepare_all(source.table() | adapter.given(data.train.parameters))
    )
    assert contexts["anchor/physics"].shape == (9, 2)
    # The field is linear in its parameters and these are smooth in the context: what is left is of third order.
    assert 0 < float((got - plain).detach().abs().max()) < 1e-2

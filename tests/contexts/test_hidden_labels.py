"""Environments found without labels, scored against the labels that were hidden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import leads
from leads.adapters.hybrid import hybrid
from leads.adapters.linear_hyper import LinearHyper
from leads.backbones import backbones
from leads.contexts import HiddenLabels
from leads.contexts.hidden_labels import _assigned, errors_of_each
from leads.contexts.kmeans import kmeans
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError, ShapeError
from leads.evaluation import adjusted_rand_index, evaluate
from leads.trajectories import DataSplits
from leads.trajectories.segments import whole, windows

SMALL: dict[str, Any] = {"backbone_settings": {"width": 12, "depth": 2}}


@pytest.fixture(scope="module")
def three(data: DataSplits) -> DataSplits:
    """Three well-separated environments; trajectories from train and valid make four each."""
    cut = lambda d: d.select(environments=[0, 4, 8])
    train = replace(cut(data.train), states=torch.cat([cut(data.train).states, cut(data.valid).states], 1))
    return replace(data, train=train, valid=cut(data.test), test=cut(data.test))


@pytest.fixture(scope="module")
def model(three: DataSplits) -> DecomposedDynamics:
    """Trained on hidden labels; tests must not change it."""
    hidden = three.train.unlabelled()
    made = leads.build("dynainfer", hidden, assumed=3, warmup=40, **SMALL)
    leads.fit(made, hidden, three.valid.unlabelled(), steps=120, lr=1e-2, horizons=(1, 3), validate_every=40)
    return made


def truth(data: leads.Trajectories) -> torch.Tensor:
    return torch.arange(data.n_environments).repeat_interleave(data.n_trajectories)


def test_labels_are_dropped_row_by_row(data: DataSplits) -> None:
    hidden = data.train.unlabelled()
    assert hidden.states.shape == (18, 1, *data.train.states.shape[2:])
    assert hidden.parameters is None
    assert torch.equal(hidden.states[5, 0], data.train.states[2, 1])
    again = hidden.unlabelled()
    assert torch.equal(again.states, hidden.states)


def test_separated_environments_are_recovered(model: DecomposedDynamics, three: DataSplits) -> None:
    assert adjusted_rand_index(model.source.labels, truth(three.train)) == 1.0


def test_steps_on_some_of_the_rows(three: DataSplits) -> None:
    """Half of the rows in each step, drawn at random: labels are found all the same."""
    hidden = three.train.unlabelled().select(frames=slice(0, 8))
    made = leads.build("dynainfer", hidden, assumed=3, warmup=120, **SMALL)
    optimizer, g = torch.optim.Adam(made.parameters(), lr=1e-2), torch.Generator().manual_seed(0)
    for _ in range(240):
        rows = torch.randperm(12, generator=g)[:6]
        part = hidden.select(environments=rows.tolist())
        contexts = made.source.train_contexts(made, rows, part, windows(part, 1))
        optimizer.zero_grad()
        made.loss_per_environment(windows(part, 1), contexts).mean().backward()
        optimizer.step()
    assert adjusted_rand_index(made.source.labels, truth(three.train)) == 1.0


def test_networks_of_their_own_are_told_apart_too(three: DataSplits) -> None:
    hidden = three.train.unlabelled()
    made = leads.build("dynainfer_leads", hidden, assumed=3, warmup=20, **SMALL)
    leads.fit(made, hidden, steps=60, lr=1e-2, horizons=(1, 3))
    assert adjusted_rand_index(made.source.labels, truth(three.train)) == 1.0


def test_as_good_as_with_labels(model: DecomposedDynamics, three: DataSplits) -> None:
    seen = leads.trained(model, data=three.train)
    assert len(seen.contexts["code"]) == 3
    hidden = evaluate(seen, three.test).scores["all"]["mse"]
    known = leads.build("coda", three.train, **SMALL)
    leads.fit(known, three.train, steps=120, lr=1e-2, horizons=(1, 3))
    labelled = evaluate(leads.trained(known), three.test).scores["all"]["mse"]
    blind = leads.build("erm", three.train, **SMALL)
    leads.fit(blind, three.train, steps=120, lr=1e-2, horizons=(1, 3))
    assert hidden < 4 * labelled
    assert hidden < 0.5 * evaluate(leads.trained(blind), three.test).scores["all"]["mse"]


def test_new_environments_start_from_the_best_and_adapt(model: DecomposedDynamics, three: DataSplits) -> None:
    support = three.adapt
    labels = model.source.labels.clone()
    start = model.source.new_contexts(model, support)["code"]
    rows = model.source.contexts()["code"].detach()  # type: ignore[operator]
    with torch.no_grad():
        losses = torch.stack([model.loss_per_environment(support, {"code": r.expand(4, 2)}) for r in rows], 1)
    assert torch.equal(start, rows[losses.argmin(1)])
    adapted = leads.adapt(model, support)
    assert adapted.info["solver"] == "levenberg_marquardt"
    assert (torch.tensor(adapted.info["loss"]) <= losses.amin(1) * (1 + 1e-5)).all()
    assert torch.equal(labels, model.source.labels)


@pytest.mark.parametrize("horizon", [0, 7])
def test_errors_against_a_loop(model: DecomposedDynamics, three: DataSplits, horizon: int) -> None:
    """Windows of 7 of 19 steps overlap; masked entries do not count."""
    mask = torch.rand(three.train.states.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    data = replace(three.train, mask=mask).select(trajectories=[0, 1])
    cut = windows(data, horizon) if horizon else whole(data)
    rows = {k: v.detach() for k, v in model.source.contexts().items()}  # type: ignore[operator]
    got = errors_of_each(model, cut, rows)
    for k in range(3):
        expected = model.loss_per_environment(cut, {n: v[k].expand(3, *v[k].shape) for n, v in rows.items()})
        torch.testing.assert_close(got[:, k], expected.detach(), rtol=1e-5, atol=1e-10)


def test_contexts_are_means_over_their_rows(data: DataSplits) -> None:
    source = HiddenLabels(LinearHyper(lambda: backbones["mlp"]((2,), width=4)), 5, 2)
    with torch.no_grad():
        source.values["code"].copy_(torch.arange(10.0).reshape(5, 2))
        assert torch.equal(source.contexts()["code"], source.values["code"])
        source.labels.copy_(torch.tensor([1, 0, 1, 1, 0]))
        torch.testing.assert_close(source.contexts()["code"], torch.tensor([[5.0, 6.0], [10 / 3, 13 / 3]]))


def test_an_empty_environment_takes_the_worst_row() -> None:
    errors = torch.tensor([[0.1, 1, 9], [0.2, 1, 9], [0.7, 1, 9], [1, 0.9, 9]])
    nearest, labels = _assigned(errors, torch.tensor([2, 2, 2, 2]), torch.arange(4))
    assert nearest.tolist() == [0, 0, 0, 1]
    assert labels.tolist() == [0, 0, 2, 1]  # the last row has a larger error but is its environment's only one
    some = torch.tensor([3, 1])
    nearest, labels = _assigned(errors[some], torch.tensor([2, 2, 0, 0]), some)
    assert nearest.tolist() == [2, 0, 0, 1]
    assert labels.tolist() == [2, 0, 0, 1]
    nearest, labels = _assigned(errors[[3]], torch.tensor([0, 0, 2, 1]), torch.tensor([2]))
    assert nearest.tolist() == [0, 0, 1, 1]
    assert labels.tolist() == [0, 0, 2, 1]
    _, labels = _assigned(errors[[3]], torch.tensor([0, 0, 1, 2]), torch.tensor([3]))
    assert sorted(set(labels.tolist())) == [0, 1, 2]


def test_kmeans_finds_separated_clusters() -> None:
    g = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(7, 3, generator=g, dtype=torch.float64)
    member = torch.arange(7).repeat(6)
    points = centres[member] + 0.1 * torch.randn(42, 3, generator=g, dtype=torch.float64)
    labels, found = kmeans(points, 7)
    assert adjusted_rand_index(labels, member) == 1.0
    means = torch.stack([points[labels == k].mean(0) for k in range(7)])
    torch.testing.assert_close(found, means)
    same, _ = kmeans(torch.zeros(4, 2, dtype=torch.float64), 2)
    assert same.tolist() == [0, 0, 0, 0]


def test_a_run_with_hidden_labels(tmp_path: Path) -> None:
    from leads.experiment import Run, run_fit
    from leads.experiment.settings import Data, Experiment, Named, TrainerSchema

    experiment = Experiment(
        family=Named("lotka_volterra"), method=Named("dynainfer", {"assumed": 9, "warmup": 2}), backbone=Named("mlp", {"width": 6, "depth": 2}),
        data=Data(labels=False), trainer=TrainerSchema(steps=4, validate_every=2, horizons=[1]), progress=False, run_dir=str(tmp_path / "run"),
    )  # fmt: skip
    run = Run(run_fit(experiment))
    labels = run.json("labels.json")
    assert len(labels["inferred"]) == len(labels["truth"]) == 36
    assert sorted(set(labels["inferred"])) == list(range(9))
    expected = adjusted_rand_index(torch.tensor(labels["inferred"]), torch.tensor(labels["truth"]))
    assert labels["adjusted_rand_index"] == pytest.approx(expected)
    assert run.evaluation()["in-domain"].scores["all"]["mse"] > 0


def test_bad_input(model: DecomposedDynamics, three: DataSplits) -> None:
    make = lambda: backbones["mlp"]((2,), width=4)
    with pytest.raises(SettingsError, match=r"not of 4.*unlabelled\(\)"):
        HiddenLabels(LinearHyper(make), 3, 4)
    with pytest.raises(SettingsError, match="warmup >= 1"):
        HiddenLabels(LinearHyper(make), 3, 2, warmup=0)
    known = hybrid(make, {"family": "lotka_volterra", "given": ["alpha", "beta", "gamma", "delta"]})
    with pytest.raises(SettingsError, match="not known which"):
        HiddenLabels(known, 3, 2)
    with pytest.raises(ShapeError, match="12 rows of data, these have 3"):
        leads.fit(model, three.train, steps=1)
    shared = leads.build("coda", three.train.unlabelled(), **SMALL)
    with pytest.raises(ShapeError, match="environments"):
        leads.fit(shared, three.train.unlabelled(), three.valid.unlabelled().select(environments=slice(0, 5)), steps=1)

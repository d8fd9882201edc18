"""Any registered adapter with any source and any backbone trains and adapts, or is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import leads
from leads import contexts
from leads.adapters import Adapter, MakeBackbone, adapters
from leads.backbones import backbones
from leads.contexts import (
    ContextSource,
    Encoder,
    HiddenLabels,
    InnerLoop,
    MovingAverage,
    NeighbourTable,
    Ridge,
    SupervisedEncoder,
    Table,
)
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError
from leads.trajectories import Trajectories

#: Each for two environments of states (C, *X), with steps that no fresh network can be thrown off by.
SOURCES: dict[str, Callable[[Adapter, tuple[int, ...]], ContextSource]] = {
    "Table": lambda a, shape: Table(a, 2, "mean"),
    "NeighbourTable": lambda a, shape: NeighbourTable(a, 2),
    "InnerLoop": lambda a, shape: InnerLoop(a, lr=1e-4),
    "InnerLoop, all learned": lambda a, shape: InnerLoop(
        a, lr=1e-4, first_order=True, learn_rates=True, learn_start=True
    ),
    "MovingAverage": lambda a, shape: MovingAverage(a, steps=1, lr=1e-4, new_steps=1),
    "Encoder": lambda a, shape: Encoder(a, shape, frames=2, width=4),
    "SupervisedEncoder": lambda a, shape: SupervisedEncoder(a, shape, "mean", frames=2, width=4, spread=0.0),
    "SupervisedEncoder, one stage": lambda a, shape: SupervisedEncoder(
        a, shape, "mean", frames=2, width=4, stages=1, spread=0.0
    ),
    "Ridge": lambda a, shape: Ridge(a, steps=1),
    "HiddenLabels": lambda a, shape: HiddenLabels(a, 2, 2, warmup=1),
}
#: Why a source refuses an adapter; all other pairs train.
DRAWN = ("additive_field", "separate")
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "NeighbourTable": (tuple(a for a in adapters if a != "taylor"), "Wrap it in the adapter taylor"),
    "InnerLoop": (DRAWN, "learn_start=True"),
    "MovingAverage": (DRAWN, "learn_start=True"),
    "Ridge": (tuple(a for a in adapters if a not in ("linear_field", "shared")), "Use the adapter linear_field"),
    "HiddenLabels": (("shared",), "has no context"),
    "Encoder": (("shared",), "has no context"),
    "SupervisedEncoder": (("shared",), "has no context"),
    "SupervisedEncoder, one stage": (("shared",), "has no context"),
}
PHYSICS: dict[str, Any] = {
    "mlp": {"family": "lotka_volterra", "own": {"alpha": 0.5, "beta": 0.5}, "shared": {"gamma": 0.5, "delta": 0.5}},
    "pairwise": {
        "family": "lotka_volterra",
        "own": {"alpha": 0.5, "beta": 0.5},
        "shared": {"gamma": 0.5, "delta": 0.5},
    },
    "field": {"family": "heat", "arguments": {"size": 16}, "own": {"D": 0.01}, "fixed": {"r": 0.0}},
}


def test_every_source_is_here() -> None:
    kinds = {name for name in contexts.__all__ if isinstance(getattr(contexts, name), type(ContextSource))}
    kinds = {n for n in kinds if issubclass(getattr(contexts, n), ContextSource) and n != "ContextSource"}
    assert kinds == {name.split(",")[0] for name in SOURCES}


def data(shape: tuple[int, ...]) -> Trajectories:
    states = torch.rand(2, 2, 3, *shape, generator=torch.Generator().manual_seed(0))
    return Trajectories(states, torch.arange(3, dtype=torch.float64) * 0.1)


@pytest.mark.parametrize("backbone", list(backbones))
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("adapter", list(adapters))
def test_trains_or_is_refused(adapter: str, source: str, backbone: str) -> None:
    who, reason = REFUSED.get(source, ((), ""))
    torch.manual_seed(0)
    shape = (2,) if backbone in ("mlp", "pairwise") else (1, 16 if adapter == "hybrid" else 8)
    settings = {"physics": PHYSICS.get(backbone, PHYSICS["field"])} if adapter == "hybrid" else {}
    made = adapters[adapter](lambda: backbones[backbone](shape, width=4), **settings)
    if adapter in who:
        with pytest.raises(SettingsError, match=reason):
            SOURCES[source](made, shape)
        return
    model, seen = DecomposedDynamics(made, SOURCES[source](made, shape), method="euler"), data(shape)
    if (adapter, source) == ("separate", "SupervisedEncoder"):
        with pytest.raises(SettingsError, match="Nothing is left to train"):
            leads.fit(model, seen, steps=2, horizons=(1,), lr=1e-3)
        return
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    leads.fit(model, seen, steps=2, horizons=(1,), lr=1e-3)
    after = [p.detach() for p in model.parameters() if p.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    adapted = leads.adapt(model, seen, steps=1, iterations=1)
    assert bool(torch.isfinite(adapted.forecast(seen.initial, seen.times)).all())


NESTED: dict[str, Callable[[MakeBackbone, str], Adapter]] = {
    "hybrid": lambda make, name: adapters["hybrid"](make, PHYSICS["mlp"], name),
    "taylor": lambda make, name: adapters["taylor"](make, name),
    "hybrid of taylor": lambda make, name: adapters["hybrid"](make, PHYSICS["mlp"], "taylor", {"adapter": name}),
    "taylor of hybrid": lambda make, name: adapters["taylor"](
        make, "hybrid", {"physics": PHYSICS["mlp"], "adapter": name}
    ),
}


@pytest.mark.parametrize("adapter", list(adapters))
@pytest.mark.parametrize("nested", NESTED)
def test_adapters_within_adapters_train(nested: str, adapter: str) -> None:
    torch.manual_seed(0)
    shape = (2,)
    seen = data(shape)
    for source in ("Table", "NeighbourTable"):
        made = NESTED[nested](lambda: backbones["mlp"]((2,), width=4), adapter)
        assert made.state_shape == (2,)
        if source == "NeighbourTable" and nested == "hybrid" and adapter != "taylor":
            with pytest.raises(SettingsError, match="Hybrid has no use for the contexts of neighbours"):
                SOURCES[source](made, shape)
            continue
        model = DecomposedDynamics(made, SOURCES[source](made, shape), method="euler")
        before = [p.detach().clone() for p in model.parameters()]
        leads.fit(model, seen, steps=2, horizons=(1,), lr=1e-3)
        assert any(not torch.equal(a, b.detach()) for a, b in zip(before, model.parameters(), strict=True))
        adapted = leads.adapt(model, seen, steps=1, iterations=1)
        assert bool(torch.isfinite(adapted.forecast(seen.initial, seen.times)).all())

from __future__ import annotations

import pytest
import torch

from leads.adapters.linear_hyper import LinearHyper
from leads.adapters.taylor import Taylor
from leads.backbones import backbones
from leads.contexts import NeighbourTable, Table
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError, UnknownNameError
from leads.trajectories import Trajectories

#: L1 norms 9, 1, 2, 12, 0; distances within {0, 3} and within {1, 2, 4} are small.
ROWS = torch.tensor([[4.0, 5.0], [1.0, 0.0], [1.0, -1.0], [6.0, 6.0], [0.0, 0.0]])
DATA = Trajectories(torch.rand(5, 1, 2, 2), torch.arange(2, dtype=torch.float64))


PLAIN = LinearHyper(lambda: backbones["mlp"]((2,), width=4))
ADAPTER = Taylor(PLAIN)
MODEL = DecomposedDynamics(ADAPTER, Table(ADAPTER, 5))


def table(**settings: object) -> NeighbourTable:
    source = NeighbourTable(ADAPTER, 5, **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        source.values["code"].copy_(ROWS)
    return source


def drawn(source: NeighbourTable, n: int = 200) -> list[set[int]]:
    """Rows that each environment drew in ``n`` steps."""
    rows = torch.stack([source.anchors() for _ in range(n)])
    return [set(column.tolist()) for column in rows.T]


def test_nearest() -> None:
    assert drawn(table(pool="nearest", size=2)) == [{0, 3}, {1, 2}, {1, 2}, {0, 3}, {1, 4}]
    assert drawn(table(pool="nearest", size=1)) == [{e} for e in range(5)]


def test_smallest() -> None:
    assert drawn(table(pool="smallest", size=3)) == [{1, 2, 4}] * 5


def test_random_all() -> None:
    source = table(pool="random_all", size=2)
    rows = torch.stack([source.anchors() for _ in range(2000)])
    assert all(len(set(r.tolist())) <= 2 for r in rows)
    counts = torch.stack([torch.bincount(c, minlength=5) for c in rows.T]).double() / 2000
    # Uniform over all rows: five standard deviations of a share of 1/5 in 2000 draws.
    assert float((counts - 0.2).abs().max()) < 5 * (0.2 * 0.8 / 2000) ** 0.5


def test_contexts_come_with_the_anchor_of_their_row() -> None:
    source = table(pool="nearest", size=2)
    contexts = source.train_contexts(MODEL, None, DATA)
    again = table(pool="nearest", size=2)
    rows = again.anchors()
    assert torch.equal(contexts["code"], ROWS)
    assert torch.equal(contexts["anchor/code"], ROWS[rows])
    some = torch.tensor([3, 1])
    part = table(pool="nearest", size=2).train_contexts(MODEL, some, DATA)
    assert torch.equal(part["anchor/code"], ROWS[rows[some]])
    assert torch.equal(part["code"], ROWS[some])


def test_alone_without_gradients_and_for_new_environments() -> None:
    source = table()
    with torch.no_grad():
        assert set(source.train_contexts(MODEL, None, DATA)) == {"code"}
    new = source.new_contexts(MODEL, DATA)
    assert set(new) == {"code"}
    assert not new["code"].any()


def test_draws_go_on_where_a_saved_table_stopped() -> None:
    first, second = table(), table()
    first.anchors()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.anchors(), second.anchors())
    many = torch.stack([first.anchors() for _ in range(20)])
    assert len({tuple(r.tolist()) for r in many}) > 10
    other = table(seed=1)
    assert not torch.equal(many, torch.stack([other.anchors() for _ in range(20)]))


def test_bad_input() -> None:
    with pytest.raises(UnknownNameError, match="'nearest'"):
        table(pool="neares")
    with pytest.raises(SettingsError, match="size"):
        table(size=-1)
    assert table(size=99).size == 5
    with pytest.raises(SettingsError, match="LinearHyper has no use for the contexts of neighbours"):
        NeighbourTable(PLAIN, 5)

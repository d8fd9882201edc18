from __future__ import annotations

import pytest
import torch

from leads.adapters import MakeBackbone, adapters
from leads.adapters.additive_field import AdditiveField, largest_singular_value
from leads.adapters.linear_hyper import LinearHyper
from leads.adapters.low_rank import LowRank
from leads.backbones import backbones
from leads.errors import SettingsError, UnknownNameError
from leads.testing import check_adapter
from leads.trajectories import Trajectories

SHAPES = {name: (2,) if name in ("mlp", "pairwise") else (2, 8) for name in backbones}


def maker(name: str = "mlp") -> MakeBackbone:
    return lambda: backbones[name](SHAPES[name], width=5)


@pytest.mark.parametrize("backbone", list(backbones))
@pytest.mark.parametrize("adapter", list(adapters))
def test_every_adapter_with_every_backbone(adapter: str, backbone: str) -> None:
    check_adapter(adapters[adapter], maker(backbone))


@pytest.mark.parametrize("kind", [LinearHyper, LowRank])
def test_zero_code_is_the_shared_model(kind: type) -> None:
    adapter = kind(maker())
    weights = adapter.effective(adapter.init_context())
    assert all(torch.equal(w, weights[k]) for k, w in adapter.backbone.named_parameters())


def test_layer_masks() -> None:
    full, first, last = (LinearHyper(maker(), only=o) for o in ("all", "first", "last"))  # type: ignore[arg-type]
    assert len(full.moving) > len(first.moving)
    assert first.moving == ["linears.0.weight", "linears.0.bias"]
    assert last.moving == ["linears.3.weight", "linears.3.bias"]
    assert LinearHyper(maker(), only=["linears.1", "activations"]).moving[0] == "linears.1.weight"
    context = {"code": torch.ones(2)}
    moved = first.effective(context)
    assert torch.equal(moved["linears.1.weight"], first.backbone.own_weights()["linears.1.weight"])
    assert not torch.equal(moved["linears.0.weight"], first.backbone.own_weights()["linears.0.weight"])
    with pytest.raises(UnknownNameError, match="all"):
        LinearHyper(maker(), only="al")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"linears\.1"):
        LinearHyper(maker(), only=["linear.1"])
    with pytest.raises(SettingsError):
        LinearHyper(maker(), dim=0)


@pytest.mark.parametrize("shape", [(2, 6), (1, 6, 4)])
def test_low_rank_spectral_shift_has_the_rank_of_its_code_in_every_mode(shape: tuple[int, ...]) -> None:
    adapter = LowRank(lambda: backbones["fno"](shape, width=8, modes=2), dim=3, scale=0.5).double()
    name = "blocks.1.spectral.weight"
    code = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)
    shift = adapter.effective({"code": code})[name] - adapter.backbone.own_weights()[name]
    modes = torch.view_as_complex(shift.detach().contiguous()).flatten(2).movedim(-1, 0)
    assert len(modes) == (2 if len(shape) == 2 else 8)
    assert torch.linalg.matrix_rank(modes, atol=1e-10).tolist() == [2] * len(modes)
    # With factors orthonormal to single precision, in which they are drawn, the singular values are those of s diag(c).
    singular = torch.linalg.svdvals(modes)[:, :2]
    torch.testing.assert_close(singular, singular.new_tensor([1.0, 0.5]).expand_as(singular), rtol=1e-5, atol=0.0)


def batch() -> Trajectories:
    x = torch.randn(3, 2, 4, 2, generator=torch.Generator().manual_seed(0))
    return Trajectories(x, torch.arange(4, dtype=torch.float64))


def test_linear_hyper_penalty_by_hand() -> None:
    adapter = LinearHyper(maker(), code=2.0, row_norms=3.0, squares=5.0)
    code = torch.tensor([[1.0, 2.0], [0.0, 1.0], [0.5, 0.0]])
    w = adapter.weight
    expected = 2 * (5 + 1 + 0.25) + 3 * (w[:, 0] ** 2 + w[:, 1] ** 2).sqrt().sum() + 5 * (w**2).sum()
    torch.testing.assert_close(adapter.penalty({"code": code}, batch()), expected)


def test_low_rank_shift_has_the_rank_of_its_code() -> None:
    adapter = LowRank(lambda: backbones["mlp"]((2,), width=12), dim=3)
    context = {"code": torch.tensor([1.0, 2.0, 0.0])}
    shift = adapter.effective(context)["linears.1.weight"] - adapter.backbone.own_weights()["linears.1.weight"]
    assert int(torch.linalg.matrix_rank(shift, atol=1e-5)) == 2
    a, b = adapter.left["linears/1/weight"], adapter.right["linears/1/weight"]
    torch.testing.assert_close(shift, a @ torch.diag(context["code"]) @ b, atol=1e-6, rtol=1e-5)


def test_additive_penalty_by_an_independent_evaluation() -> None:
    adapter = AdditiveField(maker(), size=2.0, smoothness=0.5)
    rows = [adapter.init_context() for _ in range(3)]
    contexts = {k: torch.stack([r[k] for r in rows]) for k in rows[0]}
    data, expected = batch(), 0.0
    for e, own in enumerate(rows):
        ratios = []
        for x in data.states[e].reshape(-1, 2):
            g = torch.func.functional_call(adapter.residual, own, (torch.zeros(()), x[None]))[0]
            ratios.append(float(g.norm() / (x.norm() + 1e-5)) ** 2)
        expected += 2.0 * sum(ratios) / len(ratios)
        expected += 0.5 * sum(float(torch.linalg.svdvals(w)[0]) ** 2 for w in own.values() if w.ndim > 1)
    assert float(adapter.penalty(contexts, data)) == pytest.approx(expected, rel=2e-3)


def test_largest_singular_value_and_its_gradient() -> None:
    w = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    ours = largest_singular_value(w, iterations=300)
    theirs = torch.linalg.matrix_norm(w, ord=2)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours.sum(), w)[0], torch.autograd.grad(theirs.sum(), w)[0])

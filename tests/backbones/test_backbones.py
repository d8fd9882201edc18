from __future__ import annotations

import pytest
import torch
from torch.func import jvp

from leads.backbones import backbones
from leads.backbones.conv import PeriodicConv
from leads.backbones.mlp import MLP
from leads.errors import SettingsError
from leads.testing import check_backbone

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "mlp": [(2,), (5,)],
    "pairwise": [(2,), (5,)],
    **{name: [(1, 8), (2, 6, 5)] for name in backbones if name not in ("mlp", "pairwise", "unet", "style_unet")},
    **{name: [(1, 8), (2, 4, 8)] for name in ("unet", "style_unet")},
}


@pytest.mark.parametrize(("name", "shape"), [(n, s) for n in backbones for s in SHAPES[n]])
def test_contract(name: str, shape: tuple[int, ...]) -> None:
    check_backbone(lambda: backbones[name](shape, width=6))


def test_published_sizes() -> None:
    count = lambda net: sum(p.numel() for p in net.parameters())
    assert count(MLP((2,))) == 8645
    assert count(MLP((7,))) == 9290
    assert count(PeriodicConv((2, 32, 32))) == 76229


@pytest.mark.parametrize(("make", "shape"), [(MLP, (2,)), (PeriodicConv, (1, 6))])
def test_forward_and_second_derivatives(make: type, shape: tuple[int, ...]) -> None:
    net = make(shape, width=5).double()
    x = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    v = torch.ones_like(x)
    t = torch.zeros(())
    f = lambda y: net(t, y)
    h = 1e-5
    slope = jvp(f, (x,), (v,))[1]
    torch.testing.assert_close(slope, (f(x + h * v) - f(x - h * v)) / (2 * h), rtol=1e-6, atol=1e-8)
    second = jvp(lambda y: jvp(f, (y,), (v,))[1], (x,), (v,))[1]
    torch.testing.assert_close(second, (f(x + 1e-4 * v) - 2 * f(x) + f(x - 1e-4 * v)) / 1e-8, rtol=1e-3, atol=1e-5)


def test_conv_is_periodic() -> None:
    net = PeriodicConv((2, 8, 8), width=4)
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.zeros(())
    torch.testing.assert_close(net(t, x.roll((3, 5), (2, 3))), net(t, x).roll((3, 5), (2, 3)))


def test_pairwise_interactions_are_of_two_variables() -> None:
    """Mixed differences of third order vanish: no term of the sum sees three variables."""
    net = backbones["pairwise"]((4,), width=6, depth=2).double()
    t, x = torch.zeros(()), torch.randn(4, generator=torch.Generator().manual_seed(0)).double()
    moves = torch.eye(4, dtype=torch.float64)
    mixed = torch.zeros(4, dtype=torch.float64)
    for bits in range(8):
        on = [k for k in range(3) if bits >> k & 1]
        mixed = mixed + (-1) ** len(on) * net(t, (x + sum(moves[k] for k in on))[None])[0]
    assert float(mixed.detach().abs().max()) < 1e-14
    pair = net(t, (x + moves[0] + moves[1])[None]) - net(t, (x + moves[0])[None]) - net(t, (x + moves[1])[None])
    assert float((pair + net(t, x[None])).detach().abs().max()) > 1e-4


def test_pairwise_refuses_what_has_no_pairs() -> None:
    with pytest.raises(SettingsError, match="at least two channels"):
        backbones["pairwise"]((1,))
    with pytest.raises(SettingsError, match="space axes"):
        backbones["pairwise"]((2, 8))
    with pytest.raises(SettingsError, match="width >= 1"):
        backbones["pairwise"]((2,), width=0)


def test_gain_starts_from_orthogonal_matrices() -> None:
    network = MLP((3,), width=8, depth=2, gain=0.2)
    for linear in network.linears:
        w = linear.weight.double()
        gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        torch.testing.assert_close(gram, 0.04 * torch.eye(len(gram), dtype=gram.dtype), atol=1e-6, rtol=1e-6)
        assert not linear.bias.any()
    with pytest.raises(SettingsError, match="gain"):
        MLP((3,), gain=-1.0)


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="backbone='conv'"):
        MLP((2, 32, 32))
    with pytest.raises(SettingsError, match="conv backbone takes"):
        PeriodicConv((2,))
    with pytest.raises(SettingsError, match="odd kernel"):
        PeriodicConv((2, 8), kernel=4)
    with pytest.raises(SettingsError, match="width >= 1"):
        MLP((2,), width=0)

"""The convolutional network of windows whose edges are open."""

from __future__ import annotations

import pytest
import torch

from leads.backbones import backbones
from leads.errors import UnknownNameError

T = torch.tensor(0.0)


@pytest.mark.parametrize("padding", ["constant", "replicate", "reflect"])
def test_opposite_edges_are_no_neighbours(padding: str) -> None:
    torch.manual_seed(0)
    net = backbones["open_conv"]((1, 12, 12), width=4, depth=3, padding=padding)
    x = torch.randn(1, 1, 12, 12)
    other = x.clone()
    other[..., -1] += 1.0
    change = (net(T, other) - net(T, x)).abs().amax((0, 1, 2))
    assert change.nonzero().flatten().tolist() == [8, 9, 10, 11]  # three convolutions reach three cells


def test_inside_it_is_the_periodic_network() -> None:
    torch.manual_seed(0)
    open_, periodic = (backbones[n]((2, 14, 14), width=4, depth=3) for n in ("open_conv", "conv"))
    periodic.load_state_dict(open_.state_dict())
    x = torch.randn(3, 2, 14, 14)
    inner = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(open_(T, x)[inner], periodic(T, x)[inner])


def test_unknown_padding() -> None:
    with pytest.raises(UnknownNameError, match=r"No padding is named 'zeros'.*constant"):
        backbones["open_conv"]((1, 8, 8), padding="zeros")

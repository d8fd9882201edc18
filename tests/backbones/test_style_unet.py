"""The styled U-Net against its equations, and its style moved alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, instance_norm, interpolate, pad

import leads
from leads.adapters.linear_hyper import LinearHyper
from leads.adapters.modulation import Modulation
from leads.backbones import backbones
from leads.backbones.style_unet import StyleUNet
from leads.errors import SettingsError, ShapeError
from leads.trajectories import Trajectories

T = torch.zeros((), dtype=torch.float64)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_equals_torch_functions_with_a_fresh_style() -> None:
    """Fresh pads are zero padding and fresh norms instance normalisation."""
    net = StyleUNet((2, 4, 8), width=3, levels=1, factor=0.5).double()
    swish = lambda v: v * torch.sigmoid(v * torch.nn.functional.softplus(torch.tensor(0.5, dtype=v.dtype))) / 1.1

    def stage(module: torch.nn.Module, v: torch.Tensor) -> torch.Tensor:
        for conv in module.convs:  # type: ignore[union-attr]
            v = swish(instance_norm(conv2d(pad(v, (1, 1, 1, 1)), conv.weight)))
        return v

    x = draw(3, 2, 4, 8)
    fine = stage(net.down[0], x)
    coarse = stage(net.down[1], avg_pool2d(fine, 2))
    up = stage(net.up[0], torch.cat([interpolate(coarse, scale_factor=2, mode="nearest"), fine], 1))
    torch.testing.assert_close(net(T, x), 0.5 * conv2d(up, net.out.weight, net.out.bias))


def test_style_alone_is_moved() -> None:
    adapter = LinearHyper(lambda: StyleUNet((1, 16), width=3), dim=2, only=StyleUNet((1, 16), width=3).style())
    assert len(adapter.moving) == 5 * 2 * 3
    sizes = [w.numel() for k, w in adapter.backbone.own_weights().items() if "pads" in k]
    assert sizes == [2] * 10
    assert [p.values.numel() for p in StyleUNet((1, 8, 16), width=3, levels=1).down[1].pads] == [2 * (4 + 8) + 4] * 2  # type: ignore[union-attr]
    still = {
        k
        for k, w in adapter.prepare({"code": torch.ones(2)}).items()
        if torch.equal(w, adapter.backbone.own_weights()[k])
    }
    assert still == set(adapter.backbone.own_weights()) - set(adapter.moving)


def test_an_encoder_steers_it() -> None:
    data = Trajectories(
        draw(2, 2, 8, 1, 8, 8).float(), torch.arange(8.0, dtype=torch.float64), torch.tensor([[0.0], [1.0]])
    )
    model = leads.build(
        "dyad", data, "style_unet", {"width": 4}, method="map", history=2, dim=8, encoder_width=4, encoder_depth=2
    )
    assert isinstance(model.adapter, LinearHyper)
    before = [p.detach().clone() for p in model.adapter.parameters()]
    leads.fit(model, data, steps=3, horizons=(2,), lr=1e-3)
    assert all(not torch.equal(p, q) for p, q in zip(model.adapter.parameters(), before, strict=True))


@pytest.mark.parametrize("name", ["style_resnet", "style_unet"])
def test_film_acts_on_norms(name: str) -> None:
    """h = (1 + G c) (gain v + shift) + B c after each normalisation, and no kernel is touched."""
    torch.manual_seed(0)
    film = Modulation(lambda: backbones[name]((1, 8), width=3), dim=2)
    c = torch.tensor([0.5, -1.0])
    own, moved = film.backbone.own_weights(), film.prepare({"code": c})
    key = film.backbone.norm_layers()[0]
    grown, added = film.gain[key.replace(".", "/")] @ c, film.shift[key.replace(".", "/")] @ c
    torch.testing.assert_close(moved[f"{key}.gain"], (1 + grown) * own[f"{key}.gain"])
    torch.testing.assert_close(moved[f"{key}.shift"], (1 + grown) * own[f"{key}.shift"] + added)
    changed = {k for k in own if not torch.equal(own[k], moved[k])}
    assert changed == {f"{n}.{part}" for n in film.backbone.norm_layers() for part in ("gain", "shift")}


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match=r"multiples of 4 and four.*style_resnet"):
        StyleUNet((1, 6), levels=2)
    with pytest.raises(SettingsError, match="four cells left"):
        StyleUNet((1, 8), levels=2)
    with pytest.raises(ShapeError, match="grid"):
        StyleUNet((1, 8), width=4)(T.float(), torch.zeros(2, 1, 16))

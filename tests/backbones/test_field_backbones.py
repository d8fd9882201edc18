"""What only networks for states on a grid have: published sizes, symmetry, resolution, style."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, jvp, vmap

from leads.adapters.linear_hyper import LinearHyper
from leads.backbones import backbones
from leads.backbones.deeponet import DeepONet
from leads.backbones.fno import FNO
from leads.backbones.resnet import ResNet
from leads.backbones.spectral import SpectralConv
from leads.backbones.style_resnet import AdaptiveNorm, AdaptivePad, StyleResNet
from leads.backbones.unet import UNet
from leads.cli.hydra import compose
from leads.errors import SettingsError, ShapeError

ON_GRIDS = [n for n in backbones if n not in ("mlp", "pairwise")]
T = torch.zeros(())


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_published_sizes() -> None:
    assert count(FNO((1, 32, 32), modes=6)) == 59_621
    assert count(FNO((1, 32, 32), modes=12)) == 232_421
    assert FNO((1, 32, 32)).modes == (12, 12)
    assert FNO((1, 10, 64)).modes == (5, 12)
    # Kernel 3, two 64 x 64 convolutions with bias and two slopes a block; lift, last slope, out.
    assert count(ResNet((2, 8, 8), blocks=3)) == 3 * (2 * (64 * 64 * 9 + 64) + 2) + 2 * 64 * 9 + 64 + 1 + 64 * 2 * 9 + 2


@pytest.mark.parametrize("name", ON_GRIDS)
@pytest.mark.parametrize("shape", [(2, 8), (1, 4, 8)])
def test_every_parameter_is_used(name: str, shape: tuple[int, ...]) -> None:
    net = backbones[name](shape, width=4).double()
    net(T, draw(3, *shape)).square().sum().backward()
    assert not [k for k, p in net.named_parameters() if p.grad is None or not float(p.grad.abs().max()) > 0]


@pytest.mark.parametrize("name", ON_GRIDS)
@pytest.mark.parametrize("shape", [(2, 8), (1, 4, 8)])
def test_first_and_second_derivatives(name: str, shape: tuple[int, ...]) -> None:
    net = backbones[name](shape, width=4).double()
    x, v, h = draw(1, *shape), draw(1, *shape, seed=1), 1e-4
    f = lambda y: net(T, y)
    first = jvp(f, (x,), (v,))[1]
    near = (8 * (f(x + h * v) - f(x - h * v)) - f(x + 2 * h * v) + f(x - 2 * h * v)) / (12 * h)
    torch.testing.assert_close(first, near, rtol=1e-7, atol=1e-9)
    second = jvp(lambda y: jvp(f, (y,), (v,))[1], (x,), (v,))[1]
    size = float(second.detach().abs().max())
    torch.testing.assert_close(
        second, (jvp(f, (x + h * v,), (v,))[1] - jvp(f, (x - h * v,), (v,))[1]) / (2 * h), rtol=1e-5, atol=1e-5 * size
    )
    # Reverse over forward, in a weight: what second-order inner loops and Gauss-Newton take.
    weights = {k: w.detach() for k, w in net.own_weights().items()}
    loss = lambda w: jvp(lambda y: functional_call(net, w, (T, y)), (x,), (v,))[1].square().sum()
    slopes, shifts = grad(loss)(weights), {k: draw(*w.shape, seed=2) for k, w in weights.items()}
    moved = lambda s: {k: w + s * 1e-5 * shifts[k] for k, w in weights.items()}
    along = sum(float((slopes[k] * shifts[k]).sum()) for k in weights)
    near = (8 * (loss(moved(1)) - loss(moved(-1))) - loss(moved(2)) + loss(moved(-2))) / 12e-5
    assert along == pytest.approx(float(near), rel=1e-5)


@pytest.mark.parametrize("name", ON_GRIDS)
def test_single_precision(name: str) -> None:
    net = backbones[name]((2, 8), width=4).double()
    x = draw(2, 3, 2, 8)
    stacked = {k: torch.stack([w, 1.1 * w]) for k, w in net.own_weights().items()}
    exact = net.batched(net.ready(stacked), T.double(), x)
    net, single = net.float(), {k: w.float() for k, w in stacked.items()}
    ours = net.batched(net.ready(single), T, x.float())
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-4 * float(exact.abs().max()))


PERIODIC = [
    ("conv", {}, (3, 5)),
    ("resnet", {}, (3, 5)),
    ("fno", {"coordinates": False}, (3, 5)),
    ("unet", {"levels": 1}, (2, 6)),
    ("unet", {"levels": 2}, (4, 8)),
]


@pytest.mark.parametrize(("name", "settings", "by"), PERIODIC)
def test_shifting_the_input_shifts_the_output(name: str, settings: dict[str, bool], by: tuple[int, int]) -> None:
    net = backbones[name]((2, 8, 12), width=4, **settings).double()
    x = draw(2, 2, 8, 12)
    torch.testing.assert_close(net(T, x.roll(by, (2, 3))), net(T, x).roll(by, (2, 3)), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("grid", [(6,), (7,), (4, 6), (5, 7)])
def test_spectral_layer_against_numpy(grid: tuple[int, ...]) -> None:
    """Each kept mode of the real transform is multiplied by its matrix, mode by mode in NumPy."""
    layer = SpectralConv(3, 2, (2,) * len(grid), 1.0).double()
    x = draw(2, 3, *grid).numpy()
    w = layer.weight.detach().numpy()
    w = w[..., 0] + 1j * w[..., 1]
    if len(grid) == 1:
        z = np.fft.rfft(x)
        out = np.zeros((2, 2, z.shape[-1]), complex)
        for k in range(2):
            out[..., k] = z[..., k] @ w[..., k].T
        expected = np.fft.irfft(out, grid[0])
    else:
        z = np.fft.rfft2(x)
        out = np.zeros((2, 2, *z.shape[2:]), complex)
        for row, ky in enumerate((0, 1, -2, -1)):
            for kx in range(2):
                out[..., ky, kx] = z[..., ky, kx] @ w[..., row, kx].T
        expected = np.fft.irfft2(out, grid)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("space", [1, 2])
def test_fno_gives_the_same_function_on_a_finer_grid(space: int) -> None:
    """On a band-limited field the networks on n and on 2 n points agree at the shared points, up to what the swish
    aliases, which falls with the grid."""
    net = FNO((1, *(16,) * space), modes=3, width=6, coordinates=False, spread=0.3).double()

    def at_coarsest(n: int) -> torch.Tensor:
        s = torch.arange(n, dtype=torch.float64) * 2 * math.pi / n
        x = 4 * torch.cos(s) + 3 * torch.sin(2 * s)
        x = x[None, None] if space == 1 else (x[:, None] * torch.sin(s + 0.3) + 0.2)[None, None]
        y = net(T, x)
        return y[..., :: n // 16] if space == 1 else y[..., :: n // 16, :: n // 16]

    results = [at_coarsest(n) for n in (16, 32, 64)]
    size = float(results[-1].std())
    errors = [float((r - results[-1]).abs().max()) / size for r in results[:2]]
    assert size > 1e-3
    assert 1e-9 < errors[0] < 1e-3
    assert errors[1] < 1e-3 * errors[0]


def test_deeponet_by_hand() -> None:
    net = DeepONet((2, 3, 4), width=5, basis=6, harmonics=2, factor=0.5).double()
    with torch.no_grad():
        net.bias.copy_(torch.tensor([1.0, -2.0]))
    x = draw(2, 2, 3, 4)
    parts = net.branch(x.reshape(2, -1)).reshape(2, 2, 6)
    y, s = 2, 3
    turn = [[2 * math.pi * j * u for j in (1, 2)] for u in (y / 3, s / 4)]
    seen = [g(a) for angles in turn for g in (math.cos, math.sin) for a in angles]
    trunk = net.trunk(torch.tensor(seen, dtype=torch.float64))
    torch.testing.assert_close(net(T, x)[:, :, y, s], 0.5 * (parts @ trunk + net.bias))


def test_adaptive_norm_by_hand() -> None:
    norm = AdaptiveNorm(2).double()
    with torch.no_grad():
        norm.gain.copy_(torch.tensor([2.0, 3.0]))
        norm.shift.copy_(torch.tensor([0.5, -1.0]))
    x = 100 * draw(3, 2, 4, 5)
    expected = torch.nn.functional.instance_norm(x, weight=norm.gain, bias=norm.shift)
    torch.testing.assert_close(norm(x), expected)
    y = norm(x).detach()
    torch.testing.assert_close(y.mean((2, 3)), norm.shift.detach().expand(3, 2))


@pytest.mark.parametrize("grid", [(5,), (3, 4), (64, 64)])
def test_adaptive_pad_fills_the_ring(grid: tuple[int, ...]) -> None:
    pad = AdaptivePad(grid).double()
    x = draw(2, 3, *grid)
    torch.testing.assert_close(pad(x), torch.nn.functional.pad(x, (1, 1) * len(grid)))
    with torch.no_grad():
        pad.values.copy_(torch.arange(1.0, len(pad.values) + 1))
    wide = pad(x)[1, 2]
    inside = tuple(slice(1, -1) for _ in grid)
    torch.testing.assert_close(wide[inside], x[1, 2])
    ring = torch.ones_like(wide, dtype=torch.bool)
    ring[inside] = False
    # Every value stands in exactly one cell of the ring, and no cell is left out.
    assert sorted(wide[ring].tolist()) == pad.values.tolist()
    if grid == (3, 4):
        assert wide[0].tolist() == [1, 2, 3, 4, 5, 6]
        assert wide[-1].tolist() == [7, 8, 9, 10, 11, 12]
        assert wide[1:-1, 0].tolist() == [13, 14, 15]
        assert wide[1:-1, -1].tolist() == [16, 17, 18]


def test_style_alone_can_be_moved() -> None:
    widths = [p.gain.numel() for p in StyleResNet((1, 4)).norms]  # type: ignore[union-attr]
    assert widths[::2] == [64, 64, 128, 128, 256, 256, 512, 512]
    adapter = LinearHyper(lambda: StyleResNet((1, 4, 6), width=3, blocks=3), dim=2, only=["norms", "pads"])
    assert sorted(adapter.moving) == sorted(adapter.backbone.style())  # type: ignore[operator]
    assert len(adapter.moving) == 3 * 2 * 3
    x = draw(2, 1, 1, 4, 6).float()
    codes = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    out = adapter.forward_all(T, x, adapter.prepare_all({"code": codes}))
    torch.testing.assert_close(out[0], adapter.backbone(T, x[0]))
    assert float((out[1] - adapter.backbone(T, x[1])).abs().max()) > 1e-3
    # Each environment's own style, as an encoder would give it: stacked, under vmap.
    net = StyleResNet((2, 6), width=3, blocks=2)
    style = {k: torch.stack([w, w + 1]) for k, w in net.own_weights().items() if k in net.style()}
    y = draw(2, 3, 2, 6).float()
    many = vmap(lambda s, v: functional_call(net, s, (T, v)))(style, y)
    torch.testing.assert_close(many[0], net(T, y[0]))


@pytest.mark.parametrize("name", ON_GRIDS)
def test_sizes_below_one_and_states_without_a_grid(name: str) -> None:
    with pytest.raises(SettingsError, match="width >= 1"):
        backbones[name]((2, 8), width=0)
    with pytest.raises(SettingsError, match=r"\(2,\)"):
        backbones[name]((2,))
    if name != "deeponet":
        with pytest.raises(SettingsError, match=r"\(1, 4, 4, 4\)"):
            backbones[name]((1, 4, 4, 4))


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match=r"\[9, 9\] modes of a grid \(16, 32\): between 1 and \[8, 16\]"):
        FNO((1, 16, 32), modes=9)
    with pytest.raises(SettingsError, match="each of the 2 space axes"):
        FNO((1, 16, 32), modes=[4])
    with pytest.raises(SettingsError, match="between 1 and"):
        FNO((1, 16), modes=0)
    with pytest.raises(SettingsError, match="multiples of 4: take levels=1"):
        UNet((1, 8, 6))
    with pytest.raises(SettingsError, match="choose another backbone"):
        UNet((1, 7))
    with pytest.raises(SettingsError, match="odd kernel"):
        UNet((1, 8), kernel=2)
    with pytest.raises(SettingsError, match="smaller than half the kernel"):
        UNet((1, 8), kernel=7)
    with pytest.raises(SettingsError, match="odd kernel"):
        ResNet((1, 8), kernel=4)
    with pytest.raises(SettingsError, match="backbone='mlp'"):
        DeepONet((2,))
    for net in (DeepONet((1, 8), width=4), StyleResNet((1, 8), width=4)):
        with pytest.raises(ShapeError, match="grid"):
            net(T, torch.zeros(2, 1, 16))


@pytest.mark.parametrize("name", list(backbones))
def test_configuration_gives_the_default_network(name: str) -> None:
    experiment = compose([f"backbone={name}"])
    shape = (2,) if name in ("mlp", "pairwise") else (2, 32, 32)
    made = backbones[name](shape, **experiment.backbone.settings)
    assert {k: w.shape for k, w in made.own_weights().items()} == {
        k: w.shape for k, w in backbones[name](shape).own_weights().items()
    }

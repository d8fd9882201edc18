"""Observation operators against SciPy, linear algebra and statistics."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

import leads
from leads.environments import Channel, Grid
from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.observation import (
    AlongTrack,
    AtPoints,
    Channels,
    Clouds,
    Combine,
    Compose,
    FixedMask,
    LayeredHeight,
    Layout,
    Noise,
    Operator,
    from_description,
    operators,
)

GRID = Grid((12, 16), (2.0, 3.0), ("y", "x"), "m")
LAYOUT = Layout((Channel("u", "m s-1"), Channel("v", "m s-1"), Channel("h", "m")), GRID.shape, GRID)
TIMES = torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64)
POINTS = ((0.3, 0.2), (11.0, 20.5), (23.0, 47.0), (-1.0, 100.0))


def fields(*lead: int, layout: Layout = LAYOUT, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, *layout.state_shape, generator=generator, dtype=torch.float64)


LINEAR: dict[str, Operator] = {
    "channels": Channels(("h", "u")),
    "combine": Combine(((1.0, 0.0, -2.0),), ("mix",), ("m",)),
    "fixed_mask": FixedMask(np.arange(12 * 16).reshape(12, 16) % 3 > 0),
    "clouds": Clouds(0.3, 6.0),
    "noise": Noise((0.1, 0.1, 0.2)),
    "at_points": AtPoints(POINTS),
    "along_track": AlongTrack(window=1.0, repeat=5.0, spacing=12.0, along=2.0),
    "compose": Channels("h") | AlongTrack(window=2.0, repeat=5.0, spacing=12.0, along=2.0) | Noise(0.1),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_batched_and_differentiable(name: str) -> None:
    operator = LINEAR[name].bind(LAYOUT)
    x, dx = fields(2, 3, 3), fields(2, 3, 3, seed=1)
    y, dy = torch.func.jvp(lambda z: operator(z, TIMES), (x,), (dx,))
    torch.testing.assert_close(dy, operator(dx, TIMES))
    torch.testing.assert_close(operator(x + 2 * dx, TIMES), y + 2 * dy)
    assert y.shape == (2, 3, 3, *operator.output.state_shape)
    torch.testing.assert_close(torch.func.vmap(lambda z: operator(z, TIMES))(x), y)
    torch.testing.assert_close(operator(x[1, 2], TIMES), y[1, 2])
    # The gradient is the adjoint: <H x, w> = <x, H' w>.
    weight = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((operator(leaf, TIMES) * weight).sum(), leaf)
    assert float((gradient * dx).sum()) == pytest.approx(float((dy * weight).sum()), rel=1e-10)


@pytest.mark.parametrize("name", [*LINEAR, "layered_height"])
def test_descriptions_make_the_operator_again(name: str) -> None:
    two = Layout(LAYOUT.channels[:2], GRID.shape, GRID)
    bound = LayeredHeight((5.0, 6.0), 0.3).bind(two) if name == "layered_height" else LINEAR[name].bind(LAYOUT)
    again = from_description(json.loads(json.dumps(bound.describe())))
    assert type(again) is type(bound)
    assert again.output == bound.output
    x = fields(2, 1, 3, layout=bound.bound)
    assert torch.equal(again(x, TIMES), bound(x, TIMES))
    seen = torch.ones_like(x, dtype=torch.bool)
    assert torch.equal(again.seen(seen, TIMES), bound.seen(seen, TIMES))


def test_every_registered_operator_is_tried() -> None:
    assert set(operators) == {*LINEAR, "layered_height"}


def test_interpolation_is_scipys() -> None:
    operator = AtPoints(POINTS).bind(LAYOUT)
    x = fields(1, 2)
    where = np.array(POINTS).T / np.array(GRID.spacing)[:, None]
    for k in range(2):
        for c in range(3):
            expected = map_coordinates(x[0, k, c].numpy(), where, order=1, mode="grid-wrap")
            np.testing.assert_allclose(operator(x)[0, k, c].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_points_at_cells_give_them_and_go_back_to_them() -> None:
    cells = [(2, 3), (0, 0), (11, 15)]
    operator = AtPoints(tuple((j * 2.0, i * 3.0) for j, i in cells)).bind(LAYOUT)
    x = fields(1, 1)
    y = operator(x)
    assert torch.equal(y[0, 0], torch.stack([x[0, 0, :, j, i] for j, i in cells], -1))
    values, there = operator.gridded(y, torch.ones_like(y, dtype=torch.bool))
    assert int(there[0, 0, 0].sum()) == 3
    torch.testing.assert_close(values[there], x[there])


def test_gridding_keeps_a_constant_and_drops_what_was_not_seen() -> None:
    operator = AtPoints(POINTS).bind(LAYOUT)
    y = torch.full((1, 1, 3, 4), 7.0, dtype=torch.float64)
    seen = torch.ones_like(y, dtype=torch.bool)
    seen[..., 2, 1] = False
    values, there = operator.gridded(torch.where(seen, y, torch.nan), seen)
    torch.testing.assert_close(values[there], torch.full_like(values[there], 7.0))
    assert int(there[0, 0, 0].sum()) - int(there[0, 0, 2].sum()) == 4


def test_points_beside_unknown_cells_are_not_seen() -> None:
    operator = AtPoints(((2.0, 3.5), (2.0, 3.0), (9.0, 9.0))).bind(LAYOUT)
    mask = torch.ones(1, 1, 3, 12, 16, dtype=torch.bool)
    mask[..., 1, 2] = False  # beside the first point; the second stands on its own cell
    assert operator.seen(mask)[0, 0, 0].tolist() == [False, True, True]


def test_a_point_outside_a_closed_box() -> None:
    closed = Layout(LAYOUT.channels, GRID.shape, Grid(GRID.shape, GRID.spacing, GRID.axes, "m", periodic=False))
    with pytest.raises(SettingsError, match="outside the grid"):
        AtPoints(((0.0, 46.0),)).bind(closed)
    with pytest.raises(SettingsError, match="periodic box"):
        AlongTrack().bind(closed)


def test_no_matrix_of_grid_times_points() -> None:
    n = 1500
    big = Layout((Channel("h", "m"),), (n, n), Grid((n, n), (1e3, 1e3), ("y", "x"), "m"))
    operator = AlongTrack(along=1e3).bind(big)
    # 2.25 million cells and 1.7 thousand points a track: a dense matrix would take 30 GB in float64.
    x = torch.zeros(1, 1, n, n)
    y = operator(x + 1.0, torch.zeros(1))
    assert y.shape[-1] == 2 * round(n * 1e3 / math.cos(math.radians(31)) / 1e3)
    assert torch.allclose(y, torch.ones_like(y))


def test_height_of_layers_is_the_systems() -> None:
    family = leads.make("two_layer_qg", size=20)
    system, p = family.system, family.seen[:2].clone()
    q = 1e-5 * torch.randn(2, 3, 4, 2, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    operator = LayeredHeight(tuple(p[:, 1].tolist()), tuple(p[:, 2].tolist())).bind(system)
    expected = system.ssh(q, p[:, None, None])
    torch.testing.assert_close(operator(q)[:, :, :, 0], expected, rtol=1e-10, atol=1e-12)
    assert torch.equal(operator.rows([1])(q[1:]), operator(q)[1:])
    # The state that a height suggests has that height, and a lower layer at rest.
    y = operator(q)
    state, told = operator.back(y, torch.ones_like(y, dtype=torch.bool))
    assert bool(told.all())
    torch.testing.assert_close(operator(state), y)
    lower = system.streamfunction(state, p[:, None, None])[:, :, :, 1]
    assert float(lower.abs().max()) < 1e-9 * float(system.streamfunction(state, p[:, None, None]).abs().max())


def test_combinations() -> None:
    weights = ((1.0, 0.0, -2.0), (0.5, 1.0, 0.0))
    operator = Combine(weights, ("a", "b")).bind(LAYOUT)
    x = fields(2, 3)
    y = operator(x)
    np.testing.assert_allclose(y.numpy(), np.einsum("ij,btjyx->btiyx", np.array(weights), x.numpy()), rtol=1e-12)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, :, 2] = False
    assert operator.seen(mask)[0, 0, :, 0, 0].tolist() == [False, True]
    state, _ = operator.back(y, torch.ones_like(y, dtype=torch.bool))
    torch.testing.assert_close(operator(state), y)
    assert operator.variance(torch.tensor([1.0, 4.0, 9.0])).tolist() == [37.0, 4.25]


def test_channels_go_back_to_their_places() -> None:
    operator = Channels(("h", "u")).bind(LAYOUT)
    x = fields(1, 1)
    state, told = operator.back(operator(x), torch.ones(1, 1, 2, 12, 16, dtype=torch.bool))
    assert told[0, 0, :, 0, 0].tolist() == [True, False, True]
    assert torch.equal(state[:, :, [0, 2]], x[:, :, [0, 2]])
    assert not bool(state[:, :, 1].any())


def test_clouds_have_their_cover_and_correlations() -> None:
    n, length, duration = 64, 4.0, 2.0
    layout = Layout((Channel("sst", "K"),), (n, n), Grid((n, n), (1.0, 1.0), ("y", "x"), "km"))
    clouds = Clouds(0.3, length, duration).bind(layout)
    times = torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)
    clear = clouds.clear((60, 3), times, torch.Generator().manual_seed(0)).double()
    assert float(1 - clear.mean()) == pytest.approx(0.3, abs=0.01)
    # Two cells of a Gaussian field of correlation r are both above its median with probability 1/4 + asin(r) / 2 pi.
    half = Clouds(0.5, length, duration).bind(layout).clear((60, 3), times, torch.Generator().manual_seed(1)).double()
    both = lambda a, b: float((a * b).mean())
    expected = lambda r: 0.25 + math.asin(r) / (2 * math.pi)
    assert both(half, half.roll(4, -1)) == pytest.approx(expected(math.exp(-0.5)), abs=0.01)
    assert both(half[:, 0], half[:, 1]) == pytest.approx(expected(math.exp(-0.5)), abs=0.01)
    assert both(half[:, 1], half[:, 2]) == pytest.approx(expected(math.exp(-1.5)), abs=0.01)


def test_clouds_hide_some_channels() -> None:
    clouds = Clouds(0.5, 6.0, names=("h",)).bind(LAYOUT)
    x = fields(2, 3)
    _, seen = clouds.observe(x, torch.ones_like(x, dtype=torch.bool), None, torch.Generator().manual_seed(0))
    assert bool(seen[:, :, :2].all())
    assert 0.1 < float(seen[:, :, 2].double().mean()) < 0.9


def test_noise_is_white_with_its_deviations() -> None:
    operator = Noise((0.0, 1.0, 3.0)).bind(LAYOUT)
    x = fields(10, 3)
    y, _ = operator.observe(x, x > -99, None, torch.Generator().manual_seed(0))
    added = y - x
    assert not bool(added[:, :, 0].any())
    assert float(added[:, :, 2].std()) == pytest.approx(3.0, rel=0.05)
    assert abs(float((added[:, :, 1, :, 1:] * added[:, :, 1, :, :-1]).mean())) < 0.05
    assert operator.variance(torch.zeros(3)).tolist() == [0.0, 1.0, 9.0]


def test_composition_is_flat_and_ordered() -> None:
    chain = (Channels("h") | Noise(0.1)) | (FixedMask(True) | Clouds(0.1, 3.0))
    assert [type(p).__name__ for p in chain.parts] == ["Channels", "Noise", "FixedMask", "Clouds"]
    assert chain.bind(LAYOUT).output.state_shape == (1, 12, 16)
    assert isinstance(chain, Compose)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Channels(()), SettingsError, "names of one or more"),
        (lambda: Channels("hh").bind(LAYOUT), SettingsError, "Did you mean 'h'"),
        (lambda: Channels("h")(fields(1)), SettingsError, "bind"),
        (lambda: Channels("h").bind(LAYOUT)(torch.zeros(1, 3, 4, 4)), ShapeError, r"\(3, 12, 16\)"),
        (lambda: Combine(((1.0, 2.0),), ("a",)).bind(LAYOUT), ShapeError, "3 channels"),
        (lambda: Combine(((1.0, 2.0),), ()), SettingsError, "a name"),
        (lambda: FixedMask(np.ones((12, 16))), SettingsError, "boolean"),
        (lambda: FixedMask(np.zeros((12, 16), bool)), SettingsError, "wrong way round"),
        (lambda: FixedMask(np.ones((3, 3), bool)).bind(LAYOUT), ShapeError, "12, 16"),
        (lambda: Clouds(1.0), SettingsError, "cover"),
        (lambda: Noise(-1.0), SettingsError, "not negative"),
        (lambda: Noise((1.0, 2.0)).bind(LAYOUT), ShapeError, "3 channels"),
        (lambda: AtPoints(((1.0, 2.0, 3.0),)), SettingsError, "rows of finite"),
        (lambda: AlongTrack(repeat=0.0), SettingsError, "positive"),
        (lambda: AlongTrack(heading=90.0), SettingsError, "heading"),
        (lambda: AlongTrack().bind(LAYOUT)(fields(1)), SettingsError, "times"),
        (lambda: AlongTrack().bind(Layout((Channel("x"),))), SettingsError, "plane"),
        (lambda: LayeredHeight(-1.0), SettingsError, "positive"),
        (lambda: LayeredHeight().bind(LAYOUT), SettingsError, "two layers"),
        (lambda: Compose(()), SettingsError, "at least one"),
        (lambda: Channels("h") | 3, SettingsError, "int"),
        (lambda: from_description({"kind": "chanels"}), UnknownNameError, "channels"),
        (lambda: from_description({"kind": "noise", "sdd": 1.0}), SettingsError, "damaged"),
    ],
)  # fmt: skip
def test_bad_input(make, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()

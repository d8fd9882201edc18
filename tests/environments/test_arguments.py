"""Grids that cannot resolve, and arguments that are no whole numbers, are refused in our words."""

import math

import numpy as np
import pytest

import leads
from leads.environments.arguments import points, whole
from leads.errors import SettingsError

#: Family, arguments with one that does not do, and the smallest that would.
COARSE = [
    ("kolmogorov", {"size": 8, "fine": 64}, "at least 26"),
    ("kolmogorov", {"size": 32, "fine": 32}, "at least 38"),
    ("decaying_turbulence", {"size": 8, "fine": 8}, "at least 19"),
    ("kuramoto_sivashinsky", {"size": 8}, "at least 62"),
    ("kuramoto_sivashinsky", {"size": 16, "length": 22.0}, "at least 22"),
    ("kuramoto_sivashinsky", {"length": 1.0}, "above 6.3"),
    ("korteweg_de_vries", {"size": 16}, "at least 46"),
    ("korteweg_de_vries", {"split": "zabusky_kruskal", "size": 16}, "at least 25"),
    ("combined_equation", {"size": 8}, "at least 25"),
    ("equivalent_barotropic_qg", {"size": 16}, "at least 26"),
    ("two_layer_qg", {"size": 16}, "at least 20"),
    ("barotropic_qg", {"size": 32}, "at least 48"),
    ("shallow_water", {"size": 8}, "at least 10"),
    ("double_gyre", {"size": 8}, "at least 16"),
    ("heat", {"size": 0}, "at least 16"),
    ("advection", {"size": 8}, "at least 16"),
    ("sst_advection", {"size": 8}, "at least 16"),
    ("wave", {"size": 8}, "at least 16"),
    ("turbulence", {"size": 8}, "at least 16"),
]
SIZED = sorted({name for name, _, _ in COARSE} | {"gray_scott", "brusselator", "reaction_diffusion", "wave_1d"})


@pytest.mark.parametrize(("name", "arguments", "words"), COARSE)
def test_coarse_grids_are_refused_with_the_smallest_that_does(name: str, arguments: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        leads.make(name, **arguments)


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("size", [32.5, 64.0, "64", True, 0, -4])
def test_sizes_are_whole_numbers(name: str, size: object) -> None:
    with pytest.raises(SettingsError, match="size must be a whole number of at least"):
        leads.make(name, size=size)


def test_other_whole_numbers() -> None:
    for name in ("kolmogorov", "decaying_turbulence"):
        with pytest.raises(SettingsError, match="fine must be a whole number"):
            leads.make(name, fine=128.5)
    for dims in (1.0, "2", 0):
        with pytest.raises(SettingsError, match="dims must be a whole number"):
            leads.make("heat", dims=dims)
    assert whole("n", np.int64(4), 4) == 4
    assert points("n", 32, 10, 3, "why") == 32
    with pytest.raises(SettingsError, match="n must be even, got 33"):
        points("n", 33, 10, 3, "why", even=True)
    # Exactly at the limit a mode is not resolved.
    with pytest.raises(SettingsError, match=r"at least 31 \(why\), got 30"):
        points("n", 30, 10, 3, "why")


def test_kolmogorov_forcing_is_sin_4y_where_that_is_periodic() -> None:
    family = leads.make("kolmogorov")
    p = family.seen.new_tensor([(1e-3, s * math.pi, 1.0, 0.1) for s in (0.75, 1, 1.5, 2, 0.1)])
    assert family.system.waves(p).tolist() == [2, 2, 3, 4, 1]
    system = family.system
    k = 2 * math.pi * system.waves(p) / p[:, 1]
    assert k[1:4].tolist() == pytest.approx([4.0] * 3)
    assert "environment 0" in family.source
    assert "sin(4 y)" in family.source


def test_variants_of_fields() -> None:
    gs = {s: leads.make("gray_scott", split=s) for s in ("coda", "ncf", "geps", "geps_scaling", "geps_multienv_early")}
    assert gs["ncf"].seen.tolist() == gs["coda"].seen.tolist()
    assert gs["ncf"].unseen.tolist() == gs["coda"].unseen.tolist()
    assert (gs["geps_scaling"].budget.train, len(gs["geps_scaling"].times)) == (256, 20)
    assert gs["geps_scaling"].unseen.tolist() == gs["geps"].unseen.tolist()
    early = gs["geps_multienv_early"].seen
    assert len(early) == 100
    assert (early.amin(0).numpy() >= (0.034, 0.0575)).all()
    assert (early.amax(0).numpy() <= (0.041, 0.0615)).all()
    head = leads.make("kolmogorov", split="geps_head")
    assert head.budget.adapt == 16
    assert head.seen.tolist() == leads.make("kolmogorov").seen.tolist()
    assert head.unseen[:, 0].tolist() == [5e-4, 5e-4]
    assert head.unseen[:, 1].tolist() == pytest.approx([1.25 * math.pi] * 2)


def test_units_are_written_one_way() -> None:
    """Powers follow their unit (m2 s-1); without dimensions: length2/time."""
    for name in leads.list_families():
        system = leads.make(name).system
        for unit in (q.unit for q in (*system.channels, *system.parameters)):
            assert "^" not in unit, (name, unit)
            assert "/" not in unit or unit.endswith(("/time", "/time2")), (name, unit)

from __future__ import annotations

import math

import pytest
import torch

from leads.errors import SettingsError, UnknownNameError
from leads.numerics import (
    SpectralGrid,
    advection,
    streamfunction_from_vorticity,
    velocity_from_streamfunction,
    velocity_from_vorticity,
    vorticity_from_velocity,
)

GRID = SpectralGrid((24, 20), (2 * math.pi, 4 * math.pi))
FORMS = pytest.mark.parametrize("form", ["flux", "advective"])


def noise(*lead: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(*lead, *GRID.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return GRID.forward(x)


def mesh() -> tuple[torch.Tensor, torch.Tensor]:
    y, x = torch.meshgrid(GRID.coordinates(0), GRID.coordinates(1), indexing="ij")
    return y, x


def test_velocity_of_a_known_flow() -> None:
    y, x = mesh()
    psi = torch.sin(2 * y) * torch.cos(1.5 * x)
    uh, vh = velocity_from_streamfunction(GRID, GRID.forward(psi))
    torch.testing.assert_close(GRID.inverse(uh), -2 * torch.cos(2 * y) * torch.cos(1.5 * x))
    torch.testing.assert_close(GRID.inverse(vh), -1.5 * torch.sin(2 * y) * torch.sin(1.5 * x))
    zetah = vorticity_from_velocity(GRID, uh, vh)
    torch.testing.assert_close(GRID.inverse(zetah), -(4 + 2.25) * psi)
    torch.testing.assert_close(GRID.inverse(streamfunction_from_vorticity(GRID, zetah)), psi)
    for got, expected in zip(velocity_from_vorticity(GRID, zetah), (uh, vh), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@FORMS
@pytest.mark.parametrize("dealias", [True, False])
def test_jacobian_of_known_fields(form, dealias) -> None:
    y, x = mesh()
    psi, q = torch.sin(2 * y) * torch.cos(x), torch.cos(y + 0.5 * x)
    psi_y, psi_x = 2 * torch.cos(2 * y) * torch.cos(x), -torch.sin(2 * y) * torch.sin(x)
    q_y, q_x = -torch.sin(y + 0.5 * x), -0.5 * torch.sin(y + 0.5 * x)
    got = GRID.inverse(advection(GRID, GRID.forward(psi), GRID.forward(q), form=form, dealias=dealias))
    torch.testing.assert_close(got, psi_x * q_y - psi_y * q_x, rtol=0, atol=1e-13)


@FORMS
def test_conservation(form) -> None:
    """J(psi, q) changes neither the mean of q, nor that of q^2, nor that of q psi (energy)."""
    psih, qh = noise(2, 3) * GRID.dealias, noise(2, 3, seed=1) * GRID.dealias
    j = advection(GRID, psih, qh, form=form)
    scale = (GRID.inner(j, j) * GRID.inner(qh, qh)).sqrt()
    assert float(j[..., 0, 0].abs().max()) < 1e-10
    assert float((GRID.inner(j, qh) / scale).abs().max()) < 1e-14
    assert float((GRID.inner(j, psih) / scale).abs().max()) < 1e-13


def test_the_two_forms_agree_and_a_function_of_psi_is_steady() -> None:
    psih, qh = noise(2), noise(2, seed=1)
    flux, advective = (advection(GRID, psih, qh, form=f) for f in ("flux", "advective"))
    torch.testing.assert_close(flux, advective, rtol=0, atol=1e-10 * float(flux.abs().max()))
    still = advection(GRID, psih, -3.0 * psih)
    assert float(still.abs().max()) < 1e-13 * float(flux.abs().max())


@FORMS
def test_batch_equals_loop_and_transforms(form) -> None:
    psih, qh = noise(2, 3), noise(2, 3, seed=1)
    both = advection(GRID, psih, qh, form=form)
    pairs = zip(psih.flatten(0, 1), qh.flatten(0, 1), strict=True)
    loop = torch.stack([advection(GRID, p, q, form=form) for p, q in pairs]).unflatten(0, (2, 3))
    torch.testing.assert_close(both, loop)
    mapped = torch.vmap(torch.vmap(lambda p, q: advection(GRID, p, q, form=form)))(psih, qh)
    torch.testing.assert_close(mapped, loop)
    # The Jacobian is bilinear.
    value, slope = torch.func.jvp(lambda q: advection(GRID, psih, q, form=form), (qh,), (2 * qh,))
    torch.testing.assert_close(slope, 2 * value)


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="axes"):
        velocity_from_streamfunction(SpectralGrid((8,), (1.0,)), torch.zeros(5, dtype=torch.complex128))
    with pytest.raises(UnknownNameError, match="flux"):
        advection(GRID, noise(), noise(), form="fluxx")

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import scipy.sparse as sparse
import torch

from leads.errors import SettingsError, ShapeError
from leads.numerics.sine import (
    DENSE,
    sine_eigenvalues,
    sine_transform,
    sine_transform_2d,
    sine_transform_fft,
    solve_helmholtz,
)

RNG = np.random.RandomState(0)


@pytest.mark.parametrize("n", [1, 2, 7, 64, DENSE + 3])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_transform_is_scipys(n: int, axis: int) -> None:
    shape = [3, 2, 4]
    shape[axis] = n
    x = RNG.standard_normal(shape)
    expected = scipy.fft.dst(x, type=1, norm="ortho", axis=axis)
    for transform in (sine_transform, sine_transform_fft):
        np.testing.assert_allclose(transform(torch.from_numpy(x), axis).numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(5, 8), (DENSE + 1, 3)])
def test_transform_in_two_dimensions_is_its_own_inverse(shape: tuple[int, int]) -> None:
    x = torch.from_numpy(RNG.standard_normal((2, *shape)))
    y = sine_transform_2d(x)
    expected = scipy.fft.dstn(x.numpy(), type=1, norm="ortho", axes=(1, 2))
    np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(sine_transform_2d(y), x, rtol=0, atol=1e-13)
    torch.testing.assert_close(y.square().sum(), x.square().sum(), rtol=1e-13, atol=0)


def test_inversion_solves_the_five_point_equations() -> None:
    n, m, lengths, screening = 6, 9, (2.0, 3.0), 1.7
    second = lambda n, h: sparse.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n)) / h**2
    matrix = (
        sparse.kron(second(n, 2 / (n + 1)), sparse.eye(m))
        + sparse.kron(sparse.eye(n), second(m, 3 / (m + 1)))
        - screening * sparse.eye(n * m)
    )
    q = RNG.standard_normal((n, m))
    expected = np.linalg.solve(matrix.toarray(), q.ravel()).reshape(n, m)
    np.testing.assert_allclose(solve_helmholtz(torch.from_numpy(q), lengths, screening).numpy(), expected, rtol=1e-12)
    found = np.sort(np.linalg.eigvalsh((matrix + screening * sparse.eye(n * m)).toarray()))
    np.testing.assert_allclose(np.sort(sine_eigenvalues((n, m), lengths).numpy().ravel()), found, rtol=1e-12)


def test_a_sine_is_inverted_exactly() -> None:
    n, m, lengths = 11, 15, (2.0, 5.0)
    y = torch.arange(1, n + 1, dtype=torch.float64)[:, None] * lengths[0] / (n + 1)
    x = torch.arange(1, m + 1, dtype=torch.float64) * lengths[1] / (m + 1)
    psi = torch.sin(3 * math.pi * y / lengths[0]) * torch.sin(2 * math.pi * x / lengths[1])
    screening = torch.tensor([0.0, 4.0], dtype=torch.float64)[:, None, None]
    square = (3 * math.pi / lengths[0]) ** 2 + (2 * math.pi / lengths[1]) ** 2
    q = -(square + screening) * psi
    torch.testing.assert_close(
        solve_helmholtz(q, lengths, screening, spectral=True), psi.expand(2, n, m), rtol=0, atol=1e-14
    )


def test_derivatives_and_vmap_pass_through() -> None:
    q = torch.from_numpy(RNG.standard_normal((3, 4, 5)))
    solve = lambda v, s: solve_helmholtz(v, (1.0, 1.0), s)
    screening = torch.tensor(2.0, dtype=torch.float64)
    mapped = torch.func.vmap(solve, (0, None))(q, screening)
    torch.testing.assert_close(mapped, solve(q, screening))
    value, slope = torch.func.jvp(lambda s: solve(q, s), (screening,), (torch.ones_like(screening),))
    torch.testing.assert_close(slope, solve(value, screening))
    assert solve(q.float(), screening.float()).dtype == torch.float32


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match="at least one point"):
        sine_transform(torch.zeros(2, 0))
    with pytest.raises(SettingsError, match="positive length"):
        sine_eigenvalues((3, 3), (1.0, -1.0))

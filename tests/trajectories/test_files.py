from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leads.environments import EnvironmentFamily
from leads.errors import DataError, FileError, ShapeError
from leads.trajectories import (
    DataSplits,
    Trajectories,
    files,
    from_arrays,
    from_xarray,
    generate,
    load,
    save,
    to_xarray,
)


def same(a: Trajectories, b: Trajectories) -> None:
    assert torch.equal(a.states, b.states)
    assert torch.equal(a.times, b.times)
    for name in ("parameters", "mask"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None and y is None) or torch.equal(x, y)
    assert a.attributes == b.attributes


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_xarray_round_trip(e: int, n: int, t: int, c: int, space: int, parameters: bool, masked: bool) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(e, n, t, c, *(3, 2)[:space], generator=g)
    data = Trajectories(
        x,
        torch.arange(t, dtype=torch.float64) * 0.3,
        torch.rand(e, 2, dtype=torch.float64, generator=g) if parameters else None,
        torch.rand(x.shape, generator=g) > 0.5 if masked else None,
        attributes={"seed": 3},
    )
    same(from_xarray(to_xarray(data)), data)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_file_round_trip(data: DataSplits, diffusion: EnvironmentFamily, tmp_path: Path, suffix: str) -> None:
    for i, d in enumerate((data.adapt, generate(diffusion, cache=False).train)):
        path = save(d, tmp_path / f"{i}{suffix}")
        save(d, path)
        back = load(path)
        same(back, d)
        assert back.channels == d.channels or [c.name for c in back.channels] == [c.name for c in d.channels]
        assert back.grid == d.grid
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"0{suffix}", f"1{suffix}"]


def test_damaged_and_foreign_files(data: DataSplits, tmp_path: Path) -> None:
    path = save(data.adapt, tmp_path / "a.nc")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FileError, match="damaged"):
        load(path)
    (tmp_path / "b.nc").write_text("hello")
    with pytest.raises(FileError, match="damaged"):
        load(tmp_path / "b.nc")
    with pytest.raises(FileError, match="no dataset"):
        load(tmp_path / "c.zarr")
    with pytest.raises(FileError, match=r"\.nc or \.zarr"):
        save(data.adapt, tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_failed_write_keeps_the_old_dataset(
    data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = save(data.adapt, tmp_path / f"a{suffix}")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(FileError, match="No space left"):
        save(data.test, path)
    monkeypatch.undo()
    same(load(path), data.adapt)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_missing_dimension_is_named(data: DataSplits) -> None:
    with pytest.raises(ShapeError, match="environment"):
        from_xarray(to_xarray(data.adapt).isel(environment=0, drop=True))


def test_own_arrays() -> None:
    x = np.ones((2, 1, 3, 2))
    d = from_arrays(x, [0, 1, 2], channels=("a", "b"))
    assert [c.name for c in d.channels] == ["a", "b"]
    x[1, 0, 2, 1] = np.nan
    with pytest.raises(DataError, match="environment 1, trajectory 0, frame 2"):
        from_arrays(x, [0, 1, 2])
    assert from_arrays(x, [0, 1, 2], mask=np.isfinite(x)).mask is not None
    with pytest.raises(ShapeError, match=r"T = 3"):
        from_arrays(np.ones((2, 1, 3, 2)), [0, 1])
    with pytest.raises(ShapeError, match="at least four axes"):
        from_arrays(np.ones((2, 3, 2)), [0, 1, 2])
    with pytest.raises(DataError, match="increase strictly"):
        from_arrays(np.ones((2, 1, 3, 2)), [0, 2, 1])
    with pytest.raises(ShapeError, match="environments"):
        from_arrays(np.ones((2, 1, 3, 2)), [0, 1, 2], parameters=np.ones((3, 1)))
    with pytest.raises(ShapeError, match="mask"):
        from_arrays(np.ones((2, 1, 3, 2)), [0, 1, 2], mask=np.ones((2, 1, 3)))

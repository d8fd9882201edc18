from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leads.environments import Channel, Grid, Parameter
from leads.errors import DataError, FileError, LeadsError, SettingsError, ShapeError, UnknownNameError
from leads.trajectories import Trajectories, formats
from leads.trajectories.formats import formats as registry
from leads.trajectories.formats import guess, read, write
from leads.trajectories.formats import hdf5 as hdf5_module

SUFFIX = {
    "pdebench": ".hdf5",
    "the_well": ".hdf5",
    "gen_dynamics": ".npz",
    "numpy": ".npz",
    "netcdf": ".nc",
    "zarr": ".zarr",
}


def same(a: Trajectories, b: Trajectories) -> None:
    """Equal in everything that Trajectories knows."""
    assert a.states.dtype == b.states.dtype
    torch.testing.assert_close(a.states, b.states, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(a.times, b.times)
    assert (a.parameters is None) == (b.parameters is None)
    assert a.parameters is None or b.parameters is None or torch.equal(a.parameters, b.parameters)
    assert (a.mask is None) == (b.mask is None)
    assert a.mask is None or b.mask is None or torch.equal(a.mask, b.mask)
    assert (a.channels, a.parameter_specs, a.grid, a.attributes) == (
        b.channels,
        b.parameter_specs,
        b.grid,
        b.attributes,
    )


def make(
    e: int = 2,
    n: int = 3,
    t: int = 4,
    c: int = 2,
    space: tuple[int, ...] = (4, 3),
    parameters: bool = True,
    masked: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Trajectories:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(e, n, t, c, *space, generator=g, dtype=dtype)
    mask = torch.rand(x.shape, generator=g) > 0.3 if masked else None
    if mask is not None:
        x = torch.where(mask, x, torch.full_like(x, torch.nan))
    grid = Grid(space, (0.1, 0.3, 0.7)[: len(space)], ("x", "y", "z")[: len(space)], "m", False) if space else None
    return Trajectories(
        x,
        torch.linspace(0, 1, t, dtype=torch.float64) ** 2 + 0.1,
        torch.rand(e, 2, dtype=torch.float64, generator=g) if parameters else None,
        mask,
        channels=(
            Channel("u_x", "m s-1", "eastward velocity"),
            Channel("h", "m", "height"),
            Channel("u_y", "m s-1", "v"),
        )[:c],
        parameter_specs=(
            Parameter("nu", "m2 s-1", 0.0, long_name="viscosity"),
            Parameter("b", "s-1", -1.0, 2.0, "beta"),
        )
        if parameters
        else (),
        grid=grid,
        attributes={"family": "test", "seed": 3, "nested": {"a": [1, 2.5]}},
    )


shapes = st.fixed_dictionaries(
    {
        "e": st.integers(1, 3),
        "n": st.integers(1, 3),
        "t": st.integers(1, 4),
        "c": st.integers(1, 3),
        "parameters": st.booleans(),
        "masked": st.booleans(),
        "dtype": st.sampled_from([torch.float32, torch.float64]),
    }
)
fast = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", ["gen_dynamics", "numpy", "the_well"])
@fast
@given(shape=shapes, space=st.sampled_from([(), (3,), (4, 1), (2, 3), (2, 2, 2)]))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, name: str, shape: dict, space: tuple[int, ...]) -> None:
    folder = tmp_path_factory.mktemp("trip")
    data = make(**shape, space=space)
    path = folder if registry[name].one_each else folder / f"a{SUFFIX[name]}"
    write(data, path, name)
    same(read(path, name), data)
    same(read(path), data)


@pytest.mark.parametrize("layout", ["tensor", "variables", "samples"])
@fast
@given(shape=shapes, space=st.sampled_from([(3,), (4, 1), (2, 3), (2, 2, 2)]))
def test_pdebench_round_trip(
    tmp_path_factory: pytest.TempPathFactory, layout: str, shape: dict, space: tuple[int, ...]
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    data = make(**(shape | ({"c": 1} if layout == "tensor" else {})), space=space)
    write(data, folder, "pdebench", layout=layout)
    same(read(folder), data)


@pytest.mark.parametrize("name", sorted(SUFFIX))
def test_nothing_but_arrays(tmp_path: Path, name: str) -> None:
    """Data without names, parameters or grid stay so."""
    data = Trajectories(torch.randn(1, 2, 3, 2, 4), torch.arange(3.0).double())
    path = write(data, tmp_path / f"a{SUFFIX[name]}", name)[0]
    back = read(path, name)
    assert torch.equal(back.states, data.states)
    assert back.parameters is None
    assert back.grid is None
    if name not in ("netcdf", "zarr"):
        same(back, data)


@pytest.mark.parametrize("name", sorted(SUFFIX))
def test_partial_reads_equal_selections(tmp_path: Path, name: str) -> None:
    data = make(e=3, n=5, t=6, masked=True)
    path = tmp_path / ("set" if registry[name].one_each else f"a{SUFFIX[name]}")
    write(data, path, name)
    for e, n, k in (
        (None, None, None),
        ([2, 0], [3, 0, 4], slice(1, 6, 2)),
        (slice(1, 2), slice(None, None, 2), slice(0, 1)),
        ([-1], [1, 1], slice(-2, None)),
    ):
        part, whole = read(path, environments=e, trajectories=n, frames=k), data.select(e, n, k)
        if name in ("netcdf", "zarr"):  # without a unit they write "1", so only names can be compared
            torch.testing.assert_close(part.states, whole.states, rtol=0, atol=0, equal_nan=True)
            assert torch.equal(part.times, whole.times)
            assert torch.equal(part.parameters, whole.parameters)
            assert torch.equal(part.mask, whole.mask)
        else:
            same(part, whole)


def test_partial_reads_load_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where HDF5 is read: the values that leave the file, and the files whose states are touched."""
    data = make(e=4, n=6, t=5, c=1, space=(7,))
    read_values = []
    genuine = h5py.Dataset.__getitem__

    def counted(self: h5py.Dataset, key: object, *rest: object) -> object:
        out = genuine(self, key, *rest)
        if self.ndim >= 3:
            read_values.append((Path(self.file.filename).name, np.size(out)))
        return out

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    for name, layout in (("pdebench", {"layout": "tensor"}), ("the_well", {})):
        write(data, tmp_path / name, name, **layout)
        read_values.clear()
        read(tmp_path / name, environments=[2], trajectories=[1, 4], frames=slice(1, 3))
        assert read_values == [("environment_002.hdf5", 2 * 2 * 7)]


# Genuine files, built here from the specifications and not by our writers.


def burgers(path: Path, nu: float = 0.01, cells: int = 8, frames: int = 5, **drop: bool) -> np.ndarray:
    """1-D Burgers as PDEBench publishes it: float32, 'Nu', and one time more than frames."""
    u = np.random.RandomState(int(nu * 1e4)).rand(3, frames, cells).astype("float32")
    with h5py.File(path, "w") as f:
        f["tensor"] = u
        if not drop.get("x"):
            f["x-coordinate"] = ((np.arange(cells) + 0.5) / cells).astype("float32")
        if not drop.get("t"):
            f["t-coordinate"] = np.linspace(0, 2, frames + 1).astype("float32")
        f.attrs["Nu"] = nu
    return u


def test_pdebench_tensor(tmp_path: Path) -> None:
    paths = [tmp_path / f"1D_Burgers_Sols_Nu{nu}.hdf5" for nu in (0.01, 0.1, 1.0)]
    u = [burgers(p, nu) for p, nu in zip(paths, (0.01, 0.1, 1.0), strict=True)]
    assert guess(paths[0]) == "pdebench"
    data = read(paths)
    assert data.states.shape == (3, 3, 5, 1, 8)
    assert data.states.dtype == torch.float32
    assert np.array_equal(data.states[:, :, :, 0].numpy(), np.stack(u))
    assert data.times.tolist() == pytest.approx([0, 0.4, 0.8, 1.2, 1.6])
    assert data.parameters.tolist() == [[0.01], [0.1], [1.0]]
    assert [p.name for p in data.parameter_specs] == ["Nu"]
    assert [c.name for c in data.channels] == ["u"]
    assert data.grid.spacing[0] == pytest.approx(1 / 8)
    assert data.grid.periodic
    assert data.attributes["grid_origin"] == pytest.approx([1 / 16])
    # What came in goes out again, with the coordinates where they were.
    out = write(data, tmp_path / "out", "pdebench")
    with h5py.File(out[1]) as f:
        assert np.array_equal(f["tensor"][()], u[1])
        assert f["x-coordinate"][()] == pytest.approx((np.arange(8) + 0.5) / 8)
        assert f.attrs["Nu"] == 0.1
    assert [c.name for c in read(paths[0], channels=["velocity"]).channels] == ["velocity"]


def compressible(path: Path, names: tuple[str, ...] = ("density", "pressure", "Vx", "Vy")) -> dict[str, np.ndarray]:
    made = {n: np.random.RandomState(i).rand(2, 3, 4, 5).astype("float32") for i, n in enumerate(names)}
    with h5py.File(path, "w") as f:
        for name, values in made.items():
            f[name] = values
        f["x-coordinate"], f["y-coordinate"] = np.arange(4) * 0.25 + 0.125, np.arange(5) * 0.2 + 0.1
        f["t-coordinate"] = np.linspace(0, 1, 4)
        f.attrs.update({"eta": 1e-8, "zeta": 1e-8, "M": 0.1})
    return made


def test_pdebench_variables(tmp_path: Path) -> None:
    path = tmp_path / "2D_CFD_Rand_M0.1_Eta1e-08_Zeta1e-08_trans_4_Train.hdf5"
    made = compressible(path)
    data = read(path)
    assert [c.name for c in data.channels] == ["density", "pressure", "Vx", "Vy"]
    for i, name in enumerate(made):
        assert np.array_equal(data.states[0, :, :, i].numpy(), made[name])
    assert {p.name: float(v) for p, v in zip(data.parameter_specs, data.parameters[0], strict=True)} == {
        "M": 0.1,
        "eta": 1e-8,
        "zeta": 1e-8,
    }
    assert data.grid.shape == (4, 5)
    assert data.grid.axes == ("x", "y")
    assert not data.grid.periodic, "an outflow set by its name"
    some = read(path, variables=["Vy", "density"], periodic=True)
    assert np.array_equal(some.states[0, :, :, 0].numpy(), made["Vy"])
    assert some.grid.periodic
    with pytest.raises(FileError, match=r"lacks the variable 'densty'.*'density'"):
        read(path, variables=["densty"])
    compressible(tmp_path / "less.hdf5", ("density", "Vx", "Vy"))
    with pytest.raises(FileError, match="lacks pressure of the compressible"):
        read(tmp_path / "less.hdf5")
    assert read(tmp_path / "less.hdf5", variables=["density"]).states.shape[3] == 1


def test_pdebench_samples(tmp_path: Path) -> None:
    path = tmp_path / "2D_diff-react_NA_NA.h5"
    x = np.random.RandomState(0).rand(11, 6, 4, 5, 2).astype("float32")
    with h5py.File(path, "w") as f:
        for n in range(11):
            f.create_dataset(f"{n:04d}/data", data=x[n], compression="lzf")
            f[f"{n:04d}/grid/x"] = np.linspace(-0.75, 0.75, 4).astype("float32")
            f[f"{n:04d}/grid/y"] = np.linspace(-0.8, 0.8, 5).astype("float32")
            f[f"{n:04d}/grid/t"] = np.linspace(0, 5, 6).astype("float32")
            f[f"{n:04d}"].attrs["config"] = "sim:\n  k: 0.005"
    data = read(path, trajectories=[10, 2], channels=["u", "v"])
    assert np.array_equal(data.states[0].numpy(), np.moveaxis(x[[10, 2]], -1, 2))
    assert data.times.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.grid.spacing == pytest.approx((0.5, 0.4))
    assert data.attributes["grid_origin"] == pytest.approx([-0.75, -0.8])
    assert data.attributes["config"] == "sim:\n  k: 0.005"
    assert not data.grid.periodic, "diffusion-reaction has no-flow walls"
    with h5py.File(path, "r+") as f:
        del f["0007/grid/t"]
        f["0007/grid/t"] = np.linspace(0, 6, 6).astype("float32")
    with pytest.raises(DataError, match="0007/grid/t differs from that of /0000"):
        read(path)
    assert read(path, trajectories=slice(0, 7)).n_trajectories == 7


def well(path: Path, **change: object) -> dict[str, np.ndarray]:
    """A file as The Well's data format page describes it, with fields of every kind that it allows."""
    r = np.random.RandomState(3)
    n, t, w, h = 2, 3, 4, 5
    made = {
        "a": r.rand(n, t, w, h),
        "only_x": r.rand(t, w),
        "density": r.rand(n, w, h),
        "velocity": r.rand(n, t, w, h, 2),
        "stress": r.rand(n, t, w, h, 2, 2),
    }
    made = {k: v.astype("float32") for k, v in made.items()}
    with h5py.File(path, "w") as f:
        f.attrs.update({"dataset_name": "example", "grid_type": "cartesian", "n_spatial_dims": 2, "n_trajectories": n})
        f.attrs["simulation_parameters"] = ["Re", "Sc"]
        f.attrs["Re"], f.attrs["Sc"] = change.get("Re", 1e4), 0.1
        d = f.create_group("dimensions")
        d.attrs["spatial_dims"] = ["x", "y"]
        d["time"], d["x"] = np.arange(t, dtype="float32") * 0.5, np.arange(w, dtype="float32") * 0.25
        d["y"] = np.arange(h, dtype="float32") * change.get("dy", 0.5) - 1
        for k in d:
            d[k].attrs["sample_varying"] = False
        b = f.create_group("boundary_conditions")
        for axis, kind, size in (("x", "PERIODIC", w), ("y", change.get("y_boundary", "WALL"), h)):
            g = b.create_group(f"{axis}_bc")
            g.attrs.update({"associated_dims": [axis], "bc_type": kind, "sample_varying": False, "time_varying": False})
            g["mask"] = np.isin(np.arange(size), (0, size - 1))
        s = f.create_group("scalars")
        s.attrs["field_names"] = ["Re", "forcing", "seed"]
        for k, v, sample, time in (
            ("Re", 1e4, False, False),
            ("forcing", np.ones(t), False, True),
            ("seed", [1, 2], True, False),
        ):
            s[k] = v
            s[k].attrs.update({"sample_varying": sample, "time_varying": time})
        for order, kinds in (("t0", ("a", "only_x", "density")), ("t1", ("velocity",)), ("t2", ("stress",))):
            g = f.create_group(f"{order}_fields")
            g.attrs["field_names"] = list(kinds)
            for k in kinds:
                if k == change.get("drop"):
                    continue
                g[k] = made[k]
                g[k].attrs["dim_varying"] = [True, k != "only_x"]
                g[k].attrs.update({"sample_varying": k != "only_x", "time_varying": k != "density"})
    return made


def test_the_well(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    made = well(path)
    assert guess(path) == "the_well"
    data = read(path)
    names = [c.name for c in data.channels]
    assert names == ["a", "only_x", "velocity_x", "velocity_y", "stress_xx", "stress_xy", "stress_yx", "stress_yy"]
    x = data.states[0].numpy()
    assert x.shape == (2, 3, 8, 4, 5)
    assert np.array_equal(x[:, :, 0], made["a"])
    assert np.array_equal(x[:, :, 1], np.broadcast_to(made["only_x"][None, :, :, None], (2, 3, 4, 5)))
    assert np.array_equal(x[:, :, 3], made["velocity"][..., 1])
    assert np.array_equal(x[:, :, 6], made["stress"][..., 1, 0])
    assert data.parameters.tolist() == [[1e4, 0.1]]
    assert [p.name for p in data.parameter_specs] == ["Re", "Sc"]
    assert data.attributes["boundary"] == {"x": "periodic", "y": "wall"}
    assert data.attributes["not_read"] == ["t0_fields/density", "scalars/forcing", "scalars/seed"]
    assert data.attributes["grid_origin"] == [0.0, -1.0]
    assert not data.grid.periodic
    assert data.grid.spacing == (0.25, 0.5)
    constant = read(path, constant_fields=True)
    at = [c.name for c in constant.channels].index("density")
    assert np.array_equal(constant.states[0, :, :, at].numpy(), np.repeat(made["density"][:, None], 3, 1))


def test_the_well_writes_vectors_and_boundaries(tmp_path: Path) -> None:
    made = well(tmp_path / "a.hdf5")
    data = read(tmp_path / "a.hdf5")
    out = write(data, tmp_path / "b.hdf5", "the_well")[0]
    with h5py.File(out) as f:
        assert f["t0_fields"].attrs["field_names"].tolist() == ["a", "only_x"]
        assert np.array_equal(f["t1_fields/velocity"][()], made["velocity"])
        assert np.array_equal(f["t2_fields/stress"][()], made["stress"])
        assert f["boundary_conditions/y_wall"].attrs["bc_type"] == "WALL"
        assert f["dimensions/y"][()] == pytest.approx(np.arange(5) * 0.5 - 1)
        assert (f.attrs["n_spatial_dims"], f.attrs["n_trajectories"], f.attrs["dataset_name"]) == (2, 2, "example")
        for group in ("t0_fields", "t1_fields", "t2_fields"):
            for field in f[group].values():
                assert field.attrs["dim_varying"].all()
                assert field.attrs["sample_varying"]
                assert field.attrs["time_varying"]
    same(read(out), data)


def test_gen_dynamics(tmp_path: Path) -> None:
    x, t = np.random.RandomState(0).rand(9, 4, 20, 2), np.linspace(0, 10, 20)
    np.savez(tmp_path / "train.npz", X=x, t=t)
    assert guess(tmp_path / "train.npz") == "gen_dynamics"
    data = read(tmp_path / "train.npz", channels=["prey", "predator"])
    assert np.array_equal(data.states.numpy(), x)
    assert np.array_equal(data.times.numpy(), t)
    np.savez(tmp_path / "field.npz", X=x.reshape(9, 4, 5, 8), t=t[:5])
    field = read(tmp_path / "field.npz", state_shape=(2, 2, 2))
    assert np.array_equal(field.states.numpy(), x.reshape(9, 4, 5, 2, 2, 2))
    out = write(field, tmp_path / "out.npz", "gen_dynamics")[0]
    with np.load(out, allow_pickle=False) as f:
        assert np.array_equal(f["X"], x.reshape(9, 4, 5, 8))
    with pytest.raises(ShapeError, match="8 entries"):
        read(tmp_path / "field.npz", state_shape=(3, 2))
    np.savez(tmp_path / "two.npz", X=x[0], t=t)
    with pytest.raises(ShapeError, match="environments, trajectories, steps, state"):
        read(tmp_path / "two.npz")


def test_numpy_with_other_names(tmp_path: Path) -> None:
    u, mask = np.arange(48).reshape(2, 2, 3, 1, 4), np.arange(48).reshape(2, 2, 3, 1, 4) % 3 > 0
    np.savez(tmp_path / "a.npz", u=u, time=[0, 1, 2], seen=mask)
    data = read(tmp_path / "a.npz", "numpy", states="u", times="time", mask="seen", channels=["h"])
    assert data.states.dtype == torch.float64
    assert np.array_equal(data.states.numpy(), u)
    assert np.array_equal(data.mask.numpy(), mask)
    with pytest.raises(FileError, match=r"lacks the array 'states'; it holds seen, time, u"):
        read(tmp_path / "a.npz", "numpy")


# Files that cannot be read.


@pytest.mark.parametrize("name", ["gen_dynamics", "numpy"])
def test_pickles_are_refused_unopened(tmp_path: Path, name: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "fired",))

    array = np.empty(1, dtype=object)
    array[0] = Bomb()
    names = {"X": array, "t": array} if name == "gen_dynamics" else {"states": array, "times": array}
    np.savez(tmp_path / "a.npz", **names)
    for call in (lambda: read(tmp_path / "a.npz"), lambda: read(tmp_path / "a.npz", name)):
        with pytest.raises(FileError, match=r"pickled.*Save it again as numbers"):
            call()
    assert not (tmp_path / "fired").exists()


@pytest.mark.parametrize("name", sorted(set(SUFFIX) - {"zarr"}))
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.95])
def test_truncated_files(tmp_path: Path, name: str, keep: float) -> None:
    path = write(make(e=1, space=(20, 20)), tmp_path / f"a{SUFFIX[name]}", name)[0]
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(FileError, match="damaged"):
        read(path)
    path.write_text("hello")
    with pytest.raises(FileError, match="damaged"):
        read(path, name)


def test_damaged_metadata(tmp_path: Path) -> None:
    path = write(make(e=1), tmp_path / "a.hdf5", "pdebench")[0]
    with h5py.File(path, "r+") as f:
        f.attrs["leads"] = f.attrs["leads"][:-5]
    with pytest.raises(FileError, match=r"metadata 'leads'.*damaged"):
        read(path)


@pytest.mark.parametrize(("drop", "message"), [("x", "lacks the dataset 'x-coordinate'"), ("t", "'t-coordinate'")])
def test_missing_coordinates(tmp_path: Path, drop: str, message: str) -> None:
    burgers(tmp_path / "a.hdf5", **{drop: True})
    with pytest.raises(FileError, match=message):
        read(tmp_path / "a.hdf5", "pdebench")


def test_missing_field(tmp_path: Path) -> None:
    well(tmp_path / "a.hdf5", drop="velocity")
    with pytest.raises(FileError, match="lacks the dataset 'velocity' in /t1_fields, which holds nothing"):
        read(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "r+") as f:
        del f["t0_fields"]
    with pytest.raises(FileError, match="none of the layouts"):
        read(tmp_path / "a.hdf5")
    with pytest.raises(FileError, match="lacks the group 't0_fields'"):
        read(tmp_path / "a.hdf5", "the_well")


def test_shapes_that_do_not_fit(tmp_path: Path) -> None:
    well(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "r+") as f:
        f["t0_fields/a"].attrs["time_varying"] = False
    with pytest.raises(ShapeError, match=r"t0_fields/a.*\(2, 3, 4, 5\).*ask for \(2, 4, 5\)"):
        read(tmp_path / "a.hdf5")
    burgers(tmp_path / "b.hdf5")
    with h5py.File(tmp_path / "b.hdf5", "r+") as f:
        del f["t-coordinate"]
        f["t-coordinate"] = np.arange(9.0)
    with pytest.raises(ShapeError, match="5 frames but times of shape"):
        read(tmp_path / "b.hdf5")


def test_non_uniform_grid(tmp_path: Path) -> None:
    burgers(tmp_path / "a.hdf5", x=True)
    with h5py.File(tmp_path / "a.hdf5", "r+") as f:
        f["x-coordinate"] = np.cos(np.arange(8) / 7 * np.pi)[::-1]
    with pytest.raises(DataError, match="not a uniform"):
        read(tmp_path / "a.hdf5")
    assert read(tmp_path / "a.hdf5", ignore_grid=True).grid is None


def test_files_that_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found, with both names, before any state is loaded."""
    a, b = tmp_path / "a.hdf5", tmp_path / "b.hdf5"
    monkeypatch.setattr(hdf5_module, "take", lambda *_: pytest.fail("states were loaded"))
    for module in ("pdebench_arrays", "the_well", "well_fields"):
        monkeypatch.setattr(f"leads.trajectories.formats.{module}.take", lambda *_: pytest.fail("states were loaded"))

    def refused(kind: type[LeadsError], message: str) -> None:
        with pytest.raises(kind, match=message) as error:
            read([a, b])
        assert "a.hdf5" in str(error.value)
        assert "b.hdf5" in str(error.value)

    well(a)
    well(b, dy=0.6)
    refused(DataError, r"grids differ: spacing \(0.25, 0.5\) and \(0.25, 0.6")
    well(b, y_boundary="PERIODIC")
    refused(DataError, r"periodic\) are .*False.*True")
    burgers(a)
    burgers(b, cells=9)
    refused(ShapeError, r"\(1, 8\) and \(1, 9\)")
    burgers(b, frames=4)
    refused(ShapeError, r"5 and 4 frames.*frames=slice\(0, 4\)")
    burgers(b)
    with h5py.File(b, "r+") as f:
        f["t-coordinate"][3] += 0.01
    refused(DataError, r"times differ, e.g. 1.2 and 1.21 at frame 3")
    with h5py.File(b, "r+") as f:
        f["t-coordinate"][3] -= 0.01
        f.attrs["beta"] = 1.0
    refused(DataError, r"parameters .*\('Nu', '1'\)\] and .*beta")


def test_files_of_many_environments_are_joined(tmp_path: Path) -> None:
    data = make(e=4, space=())
    write(data.select(environments=[0, 1, 2]), tmp_path / "a.npz", "numpy")
    write(data.select(environments=[3]), tmp_path / "b.npz", "gen_dynamics")
    write(data.select(environments=[3]), tmp_path / "c.npz", "numpy")
    same(read([tmp_path / "a.npz", tmp_path / "c.npz"]), data)
    same(read([tmp_path / "a.npz", tmp_path / "c.npz"], environments=[3, 1]), data.select(environments=[3, 1]))
    with pytest.raises(FileError, match=r"b\.npz lacks the array 'states'"):
        read([tmp_path / "a.npz", tmp_path / "b.npz"])


def test_nan_is_an_error_or_a_mask(tmp_path: Path) -> None:
    burgers(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "r+") as f:
        f["tensor"][1, 2, 3] = np.nan
    with pytest.raises(DataError, match=r"a.hdf5 .*environment 0, trajectory 1, frame 2.*mask_nan=True"):
        read(tmp_path / "a.hdf5")
    mask = read(tmp_path / "a.hdf5", mask_nan=True).mask
    assert (~mask).nonzero().tolist() == [[0, 1, 2, 0, 3]]
    assert read(tmp_path / "a.hdf5", trajectories=[0, 2]).mask is None


def test_chosen_variables_keep_their_mask(tmp_path: Path) -> None:
    data = make(e=1, c=3, masked=True)
    path = write(data, tmp_path / "a.hdf5", "pdebench")[0]
    part = read(path, variables=["u_y", "u_x"])
    assert part.channels == (data.channels[2], data.channels[0])
    assert torch.equal(part.mask, data.mask[:, :, :, [2, 0]])
    torch.testing.assert_close(part.states, data.states[:, :, :, [2, 0]], rtol=0, atol=0, equal_nan=True)


def test_nan_in_labelled_files(tmp_path: Path) -> None:
    data = make(e=1, c=1, space=())
    states = data.states.clone()
    states[0, 2, 1] = torch.nan
    import xarray

    grid = {"time": data.times.numpy()}
    values = (("environment", "trajectory", "time"), states[..., 0].numpy(), {"units": "m"})
    xarray.Dataset({"u": values}, grid).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(DataError, match="trajectory 2, frame 1"):
        read(tmp_path / "a.nc")
    assert (~read(tmp_path / "a.nc", mask_nan=True).mask).nonzero().tolist() == [[0, 2, 1, 0]]
    assert read(tmp_path / "a.nc", frames=slice(2, None)).mask is None


def test_precisions_are_joined_without_loss(tmp_path: Path) -> None:
    data = make(e=2)
    for i, dtype in enumerate((torch.float32, torch.float64)):
        write(data.select(environments=[i]).to(dtype=dtype), tmp_path / f"{i}.hdf5", "pdebench")
    back = read(tmp_path)
    assert back.states.dtype == torch.float64
    assert torch.equal(back.states[1], data.states[1])
    assert torch.equal(back.states[0], data.states[0].float().double())


def test_darcy_flow_has_one_frame_without_a_time(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5", "w") as f:
        f["tensor"], f["nu"] = np.ones((3, 1, 4, 4), "float32"), np.ones((3, 4, 4), "float32")
        f["x-coordinate"] = f["y-coordinate"] = np.arange(4) * 0.25 + 0.125
        f.attrs["beta"] = 1.0
    data = read(tmp_path)
    assert data.states.shape == (1, 3, 1, 1, 4, 4)
    assert data.times.tolist() == [0.0]


def test_damage_inside_an_archive(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", X=np.random.RandomState(0).rand(2, 2, 50, 2), t=np.arange(50.0))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[800:1200] = bytes(400)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FileError, match="damaged"):
        read(tmp_path / "a.npz")


def test_unknown_names(tmp_path: Path) -> None:
    data = make(e=1)
    with pytest.raises(UnknownNameError, match="'pdebench'"):
        write(data, tmp_path / "a.hdf5", "pdebnch")
    path = write(data, tmp_path / "a.hdf5", "pdebench")[0]
    with pytest.raises(UnknownNameError, match="'the_well'"):
        read(path, "thewell")
    with pytest.raises(UnknownNameError, match=r"PDEBench layout is named 'sample'\. Did you mean .samples"):
        read(path, layout="sample")
    with pytest.raises(SettingsError, match=r"no setting 'chanels'.*'channels'"):
        read(path, chanels=["a"])
    with pytest.raises(SettingsError, match=r"no setting 'layot'.*'layout'"):
        write(data, tmp_path / "b.hdf5", "pdebench", layot="tensor")
    (tmp_path / "a.hdf6").write_text("")
    with pytest.raises(FileError, match=r"No format.*'\.hdf5'"):
        read(tmp_path / "a.hdf6")
    with pytest.raises(FileError, match="no file at"):
        read(tmp_path / "none.hdf5")
    with pytest.raises(SettingsError, match="3 trajectories"):
        read(path, trajectories=[3])
    with pytest.raises(SettingsError, match="leaves none"):
        read(path, frames=slice(4, 4))
    with pytest.raises(SettingsError, match="can be pdebench or the_well"):
        write(data, tmp_path / "b.hdf5")


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(e=3)
    write(data, tmp_path / "set", "the_well")
    before = {p: p.read_bytes() for p in (tmp_path / "set").iterdir()}
    genuine, calls = registry["the_well"].write, []

    def failing(self: object, data: Trajectories, path: Path, dataset_name: str | None = None) -> None:
        genuine(self, data, path, dataset_name)
        calls.append(path)
        if len(calls) == 2:
            raise OSError("No space left on device")

    monkeypatch.setattr(registry["the_well"], "write", failing)
    with pytest.raises(FileError, match=r"No space left.*untouched"):
        write(data, tmp_path / "set", "the_well", dataset_name="other")
    assert {p: p.read_bytes() for p in (tmp_path / "set").iterdir()} == before


def test_paths_of_writers(tmp_path: Path) -> None:
    data = make(e=2)
    with pytest.raises(SettingsError, match=r"one environment a file and the data have 2.*folder"):
        write(data, tmp_path / "a.hdf5", "pdebench")
    with pytest.raises(SettingsError, match=r"2 different path\(s\)"):
        write(data, [tmp_path / "a.hdf5"], "pdebench")
    paths = write(data, [tmp_path / "b.h5", tmp_path / "a.h5"], "pdebench")
    same(read(paths), data)
    with pytest.raises(SettingsError, match="holds other data"):
        write(data, tmp_path, "pdebench")
    with pytest.raises(FileError, match=r"end in \.npz"):
        write(data, tmp_path / "a.npy", "numpy")
    with pytest.raises(ShapeError, match="one to three axes"):
        write(make(e=1, space=()), tmp_path / "c.h5", "pdebench")
    with pytest.raises(SettingsError, match="one channel"):
        write(make(e=1), tmp_path / "c.h5", "pdebench", layout="tensor")
    assert not (tmp_path / "c.h5").exists()
    assert formats.formats is registry

"""PDEBench's HDF5 files (Takamoto et al., NeurIPS 2022 data sets and benchmarks; DOI 10.18419/darus-2986)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from leads.environments import Channel
from leads.errors import FileError, SettingsError, ShapeError
from leads.registry import Registry
from leads.trajectories.formats import pdebench_arrays as arrays
from leads.trajectories.formats import pdebench_samples as samples
from leads.trajectories.formats.format import Format, Source, formats
from leads.trajectories.formats.hdf5 import (
    environment_parameters,
    number,
    opened,
    read_metadata,
    texts,
    write_metadata,
)
from leads.trajectories.formats.metadata import KEY, named_parameters
from leads.trajectories.formats.pdebench_content import AXES, Content
from leads.trajectories.grids import uniform_grid
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import h5py

Inspect = Callable[["h5py.File", Path, Sequence[str] | None], Content]
readers: Registry[Inspect] = Registry("PDEBench layout")
readers.register("tensor")(arrays.inspect_tensor)
readers.register("variables")(arrays.inspect_variables)
readers.register("samples")(samples.inspect)
writers: Registry[Callable[[Trajectories, h5py.File], None]] = Registry("PDEBench layout")
writers.register("tensor")(arrays.write_tensor)
writers.register("variables")(arrays.write_variables)
writers.register("samples")(samples.write)


@formats.register("pdebench")
class PDEBench(Format):
    """One parameter set a file, in one of three layouts, on axes ``x``, ``y``, ``z``:

    =============  ===================================================================  =============================
    layout         states                                                               coordinates
    =============  ===================================================================  =============================
    ``tensor``     ``tensor (N, T, *X)``, one channel: advection, Burgers, 1-D          ``x-coordinate``, ...;
                   reaction-diffusion (and Darcy flow, T = 1, no times)                 ``t-coordinate``
    ``variables``  one dataset ``(N, T, *X)`` a channel: ``density``, ``pressure``,     as above
                   ``Vx``, ``Vy``, ``Vz`` of the compressible Navier-Stokes sets
    ``samples``    groups ``0000``, ``0001``, ... with ``data (T, *X, C)``:             ``0000/grid/x``, ...,
                   diffusion-sorption, 2-D diffusion-reaction, shallow water            ``0000/grid/t``
    =============  ===================================================================  =============================

    ``t-coordinate`` may have one entry more than there are frames, as in the published files. Numbers among the
    attributes of the file (``beta``, ``Nu``, ``rho``, ``eta``, ``zeta``, ``M``) are the parameters. Channels without a
    name are ``u`` (``tensor``) or ``channel0``, ... (``samples``).

    The layout has no place for units, ranges, the periodicity, names of axes, a mask and provenance: they are written
    as the attribute ``leads`` and the dataset ``leads/mask`` (``leads_mask`` in each sample), which PDEBench's own
    loaders pass over. Without a grid, the numbers of the cells are written as coordinates. Not read: ``nu`` of Darcy
    flow (a field a sample), the text ``config`` of the samples (kept as an attribute), incompressible Navier-Stokes.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".hdf5", ".h5")
    one_each: ClassVar[bool] = True

    def recognises(self, path: Path) -> bool:
        with opened(path) as file:
            return _layout(file) is not None

    def inspect(  # type: ignore[override]
        self,
        path: Path,
        layout: str | None = None,
        variables: Sequence[str] | None = None,
        channels: Sequence[str] | None = None,
        periodic: bool | None = None,
        ignore_grid: bool = False,
    ) -> Source:
        """Inspect a file.

        Args:
            path: the file.
            layout: ``tensor``, ``variables`` or ``samples``; by default what the file looks like.
            variables: in the layout ``variables``, the datasets to read, in this order; by default all.
            channels: names for the channels, in place of those of the file.
            periodic: whether the domain is; by default as in the published sets: not in the layout ``samples`` nor in
                files with ``_trans`` in their name, and periodic otherwise.
            ignore_grid: read no grid, e.g. where the coordinates are not uniform.
        """
        with opened(path) as file:
            kind = layout or _layout(file)
            if kind is None:
                raise FileError(
                    f"{path} holds no PDEBench layout: no dataset 'tensor', no variables beside 'x-coordinate', no "
                    f"groups '0000', ... with 'data'. At its root are {', '.join(sorted(file)[:12]) or 'no entries'}."
                )
            content = readers[kind](file, path, variables)
            known = read_metadata(file, path)
            values = {k: number(v) for k, v in file.attrs.items() if k != KEY}
            parameters, specs = environment_parameters({k: v for k, v in values.items() if v is not None}, known, path)
            attributes = {k: texts(v)[0] for k, v in file.attrs.items() if k != KEY and "/" not in k and texts(v)}
        if periodic is None:
            periodic = kind != "samples" and "_trans" not in path.name
        named = tuple(Channel(name) for name in content.names)
        if known is not None:
            grid, attributes = known.grid, known.attributes
            described = dict(zip(content.names if kind != "variables" else known.names, known.channels, strict=False))
            named = tuple(described[c.name] for c in named) if described else ()
        elif ignore_grid:
            grid, attributes = None, attributes | content.attributes
        else:
            grid, origin = uniform_grid(content.axes, path, "1", periodic)
            attributes = attributes | content.attributes | origin
        if channels is not None:
            if len(channels) != content.shape[3]:
                raise SettingsError(f"{len(channels)} channels are named, {path} has {content.shape[3]}.")
            named = tuple(Channel(name) for name in channels)
        return Source(
            path,
            content.shape,
            content.times,
            named,
            content.load,
            parameters,
            specs,
            None if ignore_grid else grid,
            attributes,
        )

    def write(self, data: Trajectories, path: Path, layout: str | None = None) -> None:  # type: ignore[override]
        """Write one environment.

        Args:
            data: one environment of fields on at most three axes.
            path: the new file.
            layout: by default ``tensor`` for one channel and ``variables`` for more.
        """
        import h5py

        axes = data.states.ndim - 4
        if not 1 <= axes <= len(AXES):
            raise ShapeError(
                f"PDEBench files hold fields on one to three axes, these states have {axes}. "
                "Write them as 'gen_dynamics', 'numpy', 'netcdf' or 'zarr'."
            )
        writer = writers[layout or ("tensor" if data.states.shape[3] == 1 else "variables")]
        with h5py.File(path, "w") as file:
            write_metadata(file, data)
            file.attrs.update(named_parameters(data))
            writer(data, file)


def _layout(file: h5py.File) -> str | None:
    """The layout that a file looks like, or ``None``."""
    if "tensor" in file:
        return "tensor"
    if samples.numbered(file):
        return "samples"
    return "variables" if "x-coordinate" in file and arrays.variables_of(file) else None

"""What models see: trajectories, their generation, and files of them."""

from leads.trajectories.files import from_arrays, from_xarray, load, save, to_xarray
from leads.trajectories.formats import read, write
from leads.trajectories.generate import DataSplits, generate, simulate
from leads.trajectories.trajectories import Trajectories

__all__ = [
    "DataSplits",
    "Trajectories",
    "from_arrays",
    "from_xarray",
    "generate",
    "load",
    "read",
    "save",
    "simulate",
    "to_xarray",
    "write",
]

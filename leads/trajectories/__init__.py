"""What models see: trajectories, their generation, and files of them."""

from leads.trajectories.dataset import from_xarray
from leads.trajectories.files import from_arrays, load, save, to_xarray
from leads.trajectories.formats import read, write
from leads.trajectories.generate import DataSplits, generate, simulate
from leads.trajectories.observations import from_observations
from leads.trajectories.observe import observe
from leads.trajectories.stream import fresh_environments, stream, stream_sets
from leads.trajectories.trajectories import Trajectories

__all__ = [
    "DataSplits",
    "Trajectories",
    "fresh_environments",
    "from_arrays",
    "from_observations",
    "from_xarray",
    "generate",
    "load",
    "observe",
    "read",
    "save",
    "simulate",
    "stream",
    "stream_sets",
    "to_xarray",
    "write",
]

"""What models see: trajectories, their generation, and files of them."""

from leads.trajectories.generate import DataSplits, generate, simulate
from leads.trajectories.trajectories import Trajectories

__all__ = ["DataSplits", "Trajectories", "generate", "simulate"]

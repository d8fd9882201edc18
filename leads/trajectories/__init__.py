from leads.trajectories.trajectories import Trajectories

__all__ = ["Trajectories"]

"""Ocean data as oceanographers have them: read, cut into environments, and forecasts back as CF."""

from leads.ocean.data.gridded import merged, read_gridded
from leads.ocean.data.quantities import QUANTITIES, Quantity

__all__ = ["QUANTITIES", "Quantity", "merged", "read_gridded"]

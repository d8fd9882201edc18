"""Ocean data as oceanographers have them: read, cut into environments, and forecasts back as CF."""

from leads.ocean.data.along_track import read_along_track
from leads.ocean.data.anomalies import Anomalies
from leads.ocean.data.cut import cut, cut_to_zarr
from leads.ocean.data.forecasts import forecast_dataset, write_forecast
from leads.ocean.data.geostrophy import (
    add_geostrophic_velocity,
    beta,
    coriolis,
    deformation_radius,
    geostrophic_velocity,
)
from leads.ocean.data.gridded import merged, read_gridded
from leads.ocean.data.public import have_public_files, public_file
from leads.ocean.data.quantities import QUANTITIES, Quantity
from leads.ocean.data.regions import Box, Regions
from leads.ocean.data.regridding import regrid, regrid_curvilinear
from leads.ocean.data.windows import Windows

__all__ = [
    "Anomalies",
    "Box",
    "QUANTITIES",
    "Quantity",
    "Regions",
    "Windows",
    "add_geostrophic_velocity",
    "beta",
    "coriolis",
    "cut",
    "cut_to_zarr",
    "deformation_radius",
    "forecast_dataset",
    "geostrophic_velocity",
    "have_public_files",
    "merged",
    "public_file",
    "read_along_track",
    "read_gridded",
    "regrid",
    "regrid_curvilinear",
    "write_forecast",
]

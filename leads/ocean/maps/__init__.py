"""Maps, animations, curves and report pages of ocean forecasts."""

from leads.ocean.maps.animation import animate
from leads.ocean.maps.chart import Chart
from leads.ocean.maps.colours import colour_map
from leads.ocean.maps.currents import draw_currents
from leads.ocean.maps.curves import drifters, lead_curves, space_time_resolution, spectra
from leads.ocean.maps.fields import comparison, field_map, uncertainty
from leads.ocean.maps.panels import Panel, panels
from leads.ocean.maps.report import with_ocean, write_ocean_report
from leads.ocean.maps.results import OceanResults

__all__ = [
    "Chart",
    "OceanResults",
    "Panel",
    "animate",
    "colour_map",
    "comparison",
    "draw_currents",
    "drifters",
    "field_map",
    "lead_curves",
    "panels",
    "space_time_resolution",
    "spectra",
    "uncertainty",
    "with_ocean",
    "write_ocean_report",
]

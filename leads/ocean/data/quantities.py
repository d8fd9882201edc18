"""What oceanographers' variables are called, in which units they come, and which values they can have."""

from __future__ import annotations

from dataclasses import dataclass

from leads.errors import DataError


@dataclass(frozen=True)
class Quantity:
    """A physical quantity as leads names it.

    Attributes:
        name: of the variable that readers return.
        unit: SI, in the spelling of CF (UDUNITS).
        standard_names: of CF, the one that is written first.
        names: under which files have it without a standard name.
        low, high: values outside are not physical; a file with such values was not scaled, or scaled wrongly.
        still: the values of a frame that vary less than this were scaled twice.
        long_name: written to files.
    """

    name: str
    unit: str
    standard_names: tuple[str, ...]
    names: tuple[str, ...]
    low: float
    high: float
    still: float
    long_name: str


def _velocity(name: str, axis: str, names: tuple[str, ...] = (), anomaly: bool = False) -> Quantity:
    standard = f"surface_geostrophic_{axis}ward_sea_water_velocity"
    if anomaly:
        standard += "_assuming_sea_level_for_geoid"
        older = standard.replace("sea_level_for", "mean_sea_level_for")
        return Quantity(name, "m s-1", (standard, older), (name, *names), -20, 20, 1e-3, f"geostrophic {axis}ward velocity anomaly")  # fmt: skip
    return Quantity(name, "m s-1", (standard,), (name, *names), -20, 20, 1e-3, f"geostrophic {axis}ward velocity")


#: Heights vary by a centimetre or more also over a calm window; scaled twice, by 1e-4, those of the globe vary by 4e-4 m.
QUANTITIES: dict[str, Quantity] = {
    q.name: q
    for q in (
        Quantity("adt", "m", ("sea_surface_height_above_geoid",), ("adt", "zos", "ssh", "sossheig"), -5, 5, 5e-4, "absolute dynamic topography"),
        Quantity("sla", "m", ("sea_surface_height_above_sea_level", "sea_surface_height_above_mean_sea_level"), ("sla",), -5, 5, 5e-4, "sea level anomaly"),
        _velocity("ugos", "east"),
        _velocity("vgos", "north"),
        _velocity("ugosa", "east", anomaly=True),
        _velocity("vgosa", "north", anomaly=True),
        Quantity("uo", "m s-1", ("eastward_sea_water_velocity", "sea_water_x_velocity"), ("uo",), -20, 20, 1e-3, "eastward velocity"),
        Quantity("vo", "m s-1", ("northward_sea_water_velocity", "sea_water_y_velocity"), ("vo",), -20, 20, 1e-3, "northward velocity"),
        Quantity(
            "sst", "K",
            ("sea_surface_temperature", "sea_surface_foundation_temperature", "sea_surface_subskin_temperature", "sea_surface_skin_temperature"),
            ("analysed_sst", "sst", "tos"), 263.15, 323.15, 1e-3, "sea surface temperature",
        ),
        Quantity("thetao", "K", ("sea_water_potential_temperature",), ("thetao", "votemper"), 263.15, 323.15, 1e-3, "potential temperature"),
        Quantity("so", "0.001", ("sea_water_salinity", "sea_water_practical_salinity"), ("so", "vosaline"), 0, 60, 1e-4, "salinity"),
        Quantity("sst_error", "K", ("sea_surface_temperature standard_error",), ("analysis_error",), 0, 100, 0, "standard error of temperature"),
        Quantity("sla_error", "m", ("sea_surface_height_above_sea_level standard_error",), ("err_sla", "err"), 0, 100, 0, "formal mapping error of sea level"),
    )
}  # fmt: skip

#: Quantities of along-track files; the corrections are heights that files add or take away.
TRACK = ("sla_unfiltered", "sla_filtered", "mdt", "lwe", "dac", "ocean_tide", "internal_tide")

_SCALES: dict[str, dict[str, tuple[float, float]]] = {
    "m": {
        "m": (1, 0), "meter": (1, 0), "meters": (1, 0), "metre": (1, 0), "metres": (1, 0), "cm": (1e-2, 0), "mm": (1e-3, 0),
        "dm": (1e-1, 0), "centimeter": (1e-2, 0), "centimeters": (1e-2, 0), "centimetre": (1e-2, 0), "km": (1e3, 0),
    },
    "m s-1": {
        "m s-1": (1, 0), "m/s": (1, 0), "ms-1": (1, 0), "m.s-1": (1, 0), "m s^-1": (1, 0), "m s**-1": (1, 0), "meter second-1": (1, 0),
        "cm s-1": (1e-2, 0), "cm/s": (1e-2, 0), "cm.s-1": (1e-2, 0), "mm s-1": (1e-3, 0), "mm/s": (1e-3, 0), "knot": (1852 / 3600, 0), "knots": (1852 / 3600, 0),
    },
    "K": {
        "k": (1, 0), "kelvin": (1, 0), "kelvins": (1, 0), "degc": (1, 273.15), "degree_c": (1, 273.15), "degrees_c": (1, 273.15),
        "degree_celsius": (1, 273.15), "degrees_celsius": (1, 273.15), "deg_c": (1, 273.15), "celsius": (1, 273.15), "°c": (1, 273.15),
        "degrees celsius": (1, 273.15), "degree celsius": (1, 273.15),
    },
    "0.001": {"0.001": (1, 0), "1e-3": (1, 0), "psu": (1, 0), "g kg-1": (1, 0), "g/kg": (1, 0), "1": (1e3, 0), "pss": (1, 0)},
}  # fmt: skip


def to_si(unit: str, si: str, what: str, difference: bool = False) -> tuple[float, float]:
    """Factor and offset that take values of ``unit`` to ``si``; a ``difference`` (an error) takes no offset.

    Args:
        unit: as a file spells it.
        si: ``"m"``, ``"m s-1"``, ``"K"`` or ``"0.001"`` (salinity).
        what: the file and the variable, for the message.

    Raises:
        DataError: a unit of something else, or one that is not known.
    """
    known = _SCALES[si]
    key = " ".join(unit.strip().split()).lower()
    if key not in known:
        raise DataError(
            f"{what} has the units {unit!r}, which are not known for a quantity in {si}. Known are {', '.join(known)}. Pass "
            f"units= with the right ones, or convert the values."
        )
    factor, offset = known[key]
    return float(factor), 0.0 if difference else float(offset)


#: The other spelling of this unit also means degrees of longitude or latitude in careless files.
DEGREES = ("degrees_north", "degree_north", "degrees_n", "degreen", "degrees_east", "degree_east", "degrees_e", "degreee", "degrees", "degree", "deg")  # fmt: skip

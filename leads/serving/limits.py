"""What the service takes on."""

from __future__ import annotations

from dataclasses import dataclass, fields

from leads.errors import LeadsError, SettingsError


@dataclass(frozen=True)
class Limits:
    """Bounds of one request and of what is kept.

    Attributes:
        body: bytes of a request.
        environments, trajectories, frames: of observations and of a forecast.
        values: numbers in the states of observations or of a forecast, draws of an ensemble counted.
        seconds: after which a request is answered with 503, and its work ends.
        kept: adapted environments sets that are remembered; the one not used for longest is dropped.
    """

    body: int = 16 * 2**20
    environments: int = 1000
    trajectories: int = 1000
    frames: int = 10_000
    values: int = 10_000_000
    seconds: float = 60.0
    kept: int = 100

    def __post_init__(self) -> None:
        for f in fields(self):
            if not getattr(self, f.name) > 0:
                raise SettingsError(f"The limit {f.name} must be positive, got {getattr(self, f.name)}.")


class TooLargeError(LeadsError, ValueError):
    """A request beyond the limits of the service."""


class UnknownIdError(LeadsError, LookupError):
    """An id that the service does not know, or no longer."""


class BusyError(LeadsError, TimeoutError):
    """Work that took too long, or waits for such work."""

"""The exceptions of leads.

Every error that a user can cause derives from :class:`LeadsError`, says what came, what was expected and what to do,
and ends the command line with exit code 2. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations


class LeadsError(Exception):
    """Base of every error that the user can mend."""


class UnknownNameError(LeadsError, LookupError):
    """A name that no registry, split or setting knows; the message offers the nearest known ones."""


class SettingsError(LeadsError, ValueError):
    """A setting outside its range, or settings that cannot go together."""


class ShapeError(LeadsError, ValueError):
    """A tensor whose axes do not fit; the message names the axis, what came and what was expected."""


class DataError(LeadsError, ValueError):
    """Values that cannot be used: NaN or infinite states, times that do not increase, inadmissible parameters."""


class FileError(LeadsError, OSError):
    """A file that is missing, truncated or of a foreign format."""


class CheckpointError(FileError):
    """A checkpoint of another version, model or family, or one that cannot be read."""


class DivergenceError(LeadsError, ArithmeticError):
    """A rollout or an optimisation that left the finite numbers; the message names the step and the environment.

    Attributes:
        environment, trajectory, time: where and when, as far as known: a number in the batch, or in its environment
            where that is given.
    """

    def __init__(
        self,
        message: str,
        *,
        trajectory: int | None = None,
        time: float | None = None,
        environment: int | None = None,
    ) -> None:
        super().__init__(message)
        self.environment, self.trajectory, self.time = environment, trajectory, time


class WorkerError(LeadsError, RuntimeError):
    """A process of a run on several that stopped; the message names its rank where that can be known."""


class LimitsWarning(UserWarning):
    """A forecast is asked for where the model, or its calibration, was never tried: the message says where and how far."""

"""What every competitor is: past frames and lead times in, forecasts out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from leads.errors import DataError, SettingsError, ShapeError
from leads.integrators import check_times


class Baseline(ABC):
    """A forecast without a learned network. Missing values are NaN, all the same whether gap or land."""

    def forecast(self, past: Tensor, past_times: Tensor, leads: Tensor, land: Tensor | None = None) -> Tensor:
        """Forecast from past frames.

        Args:
            past: ``(E, N, T0, C, Y, X)``; NaN where nothing was observed.
            past_times: of those frames, s, increasing, ``(T0,)``.
            leads: times after the last past frame, s, not negative, increasing, ``(T,)``; 0 asks for a map of the last
                frame.
            land: True on land, broadcasting against the forecast; forecasts are NaN there.

        Returns:
            ``(E, N, T, C, Y, X)``, NaN on land and where a method has nothing to go by.

        Raises:
            ShapeError: axes that do not fit.
            SettingsError: leads that are negative.
            DataError: an environment and trajectory without a single observation.
        """
        if past.ndim != 6:
            raise ShapeError(f"Past frames need shape (E, N, T0, C, Y, X), got {tuple(past.shape)}.")
        check_times(past_times)
        check_times(leads)
        if len(past_times) != past.shape[2]:
            raise ShapeError(f"{past.shape[2]} past frames need as many times, got {len(past_times)}.")
        if float(leads[0]) < 0:
            raise SettingsError(
                f"Lead times count from the last past frame and are not negative, got {float(leads[0]):g}."
            )
        empty = ~torch.isfinite(past).flatten(2).any(-1)
        if bool(empty.any()):
            e, n = empty.nonzero()[0].tolist()
            raise DataError(
                f"Trajectory {n} of environment {e} has no observation in its past frames (all land or all missing). "
                "Leave it out, or give more frames."
            )
        made = self._forecast(past, past_times.to(torch.float64), leads.to(torch.float64))
        return made if land is None else torch.where(land.to(made.device), torch.nan, made)

    @abstractmethod
    def _forecast(self, past: Tensor, past_times: Tensor, leads: Tensor) -> Tensor:
        """:meth:`forecast` of checked input."""


def last_known(past: Tensor) -> Tensor:
    """Latest observed value at every point, ``(E, N, T0, C, Y, X)`` to ``(E, N, C, Y, X)``; NaN where there is none."""
    count = torch.arange(1, past.shape[2] + 1, device=past.device)[:, None, None, None]
    latest = torch.where(torch.isfinite(past), count, 0).argmax(2, keepdim=True)
    return past.gather(2, latest).squeeze(2)


def held(frame: Tensor, leads: Tensor) -> Tensor:
    """``(E, N, C, Y, X)`` at every lead."""
    return frame[:, :, None].expand(*frame.shape[:2], len(leads), *frame.shape[2:]).clone()

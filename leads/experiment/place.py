"""Where a run runs: the only place that picks a device and a precision."""

from __future__ import annotations

import torch

from leads.errors import SettingsError
from leads.experiment.settings import Experiment
from leads.training import Processes

PRECISIONS = {"32": torch.float32, "64": torch.float64}


def place(experiment: Experiment, processes: Processes | None = None) -> tuple[torch.device, torch.dtype]:
    """Device and dtype of a run, or of this process of it."""
    device = _device(experiment.device) if processes is None else processes.fabric.device
    return device, PRECISIONS[experiment.precision]


def _device(name: str) -> torch.device:
    """The device that Lightning Fabric picks for ``auto``, ``cpu``, ``cuda`` or ``mps``."""
    from lightning_fabric import Fabric

    try:
        return Fabric(accelerator=name, devices=1).device
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"The device {name!r} is not to be had here: {error}. Choose device=auto or device=cpu."
        ) from error

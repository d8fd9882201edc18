"""Integration of fields that see past frames beside the present state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from leads.integrators.fixed import Field, check_even, integrate


def integrate_history(
    field: Field,
    window: Tensor,
    times: Tensor,
    *,
    axis: int,
    method: str = "rk4",
    substeps: int = 1,
    checkpoint: bool = False,
) -> Tensor:
    """Advance ``dx/dt = field(t, [x_{k-h+1}, ..., x_{k-1}, x(t)])`` from frame k to k + 1, and so on.

    The field sees the state as it moves and the h - 1 frames before frame k, which are held until frame k + 1 is
    reached (delay coordinates in units of frames). With ``method="map"`` the next frame is ``x_k + field(t_k, [...])``.

    Args:
        field: called with ``t`` and the frames side by side along ``axis``, oldest first; gives ``dx/dt`` of one.
        window: the first h frames along ``axis``, e.g. ``(E, N, h, C, *X)`` where ``axis`` is 2 and frames are
            ``(E, N, C, *X)`` with their channels there.
        times: of the last frame given and of those asked for: ``(T,)`` or ``(T, *B)`` as for
            :func:`leads.integrators.integrate`. An entry whose time stops changing is at its end.
        axis: of frames in ``window`` and of channels in a frame.
        method, substeps, checkpoint: see :func:`leads.integrators.integrate`.

    Returns:
        States at ``times``, shape ``(T, *frame)``; differentiable in ``window``.

    Raises:
        DataError: frames that are not equally far apart, and what :func:`leads.integrators.integrate` raises.
    """
    check_even(times, "A history of past frames", "use history=1")
    frames = list(window.unbind(axis))
    h = len(frames)
    for k in range(len(times) - 1):
        held = frames[len(frames) - h : -1]
        see = lambda t, x, held=held: field(t, torch.cat([*held, x], axis))  # noqa: E731
        steps: dict[str, Any] = {"method": method, "substeps": substeps, "checkpoint": checkpoint}
        frames.append(integrate(see, frames[-1], times[k : k + 2], **steps)[-1])
    return torch.stack(frames[h - 1 :])

"""Animations of truth and forecast: GIF by pillow, MP4 by ffmpeg."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from leads.errors import FileError, SettingsError, ShapeError, UnknownNameError
from leads.ocean.maps.chart import Chart
from leads.ocean.maps.colours import Kind
from leads.ocean.maps.fields import days, limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Animations are shown about 800 pixels wide.
DPI = 80


def animate(
    frames: dict[str, Tensor],
    chart: Chart,
    leads: Tensor,
    path: str | Path,
    *,
    kind: Kind = "height",
    label: str = "",
    title: str = "",
    rate: int = 4,
) -> Path:
    """Write panels side by side that move together, with one colour scale.

    Args:
        frames: name of each panel (truth, forecast ...) and its field ``(T, Y, X)``.
        chart: where they lie.
        leads: s, ``(T,)``.
        path: ends in ``.gif`` (pillow) or ``.mp4`` (ffmpeg, which must be installed).
        kind, label, title: see :func:`leads.ocean.maps.field_map`.
        rate: frames a second.

    Raises:
        SettingsError: no panels, or a rate that is not positive.
        ShapeError: fields that do not fit the chart or the leads.
        UnknownNameError: another ending.
        FileError: MP4 without ffmpeg, or a place that cannot be written to.
    """
    from matplotlib import animation
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path = Path(path)
    writers: dict[str, Any] = {".gif": animation.PillowWriter, ".mp4": animation.FFMpegWriter}
    if path.suffix not in writers:
        raise UnknownNameError(f"Animations are written as .gif or .mp4, got {path.name!r}.")
    if path.suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise FileError(
            f"{path.name}: MP4 needs ffmpeg, which is not on this machine's path. Install it, or write a .gif."
        )
    if not frames or rate < 1:
        raise SettingsError(f"An animation needs panels and at least one frame a second, got {len(frames)} and {rate}.")
    for name, field in frames.items():
        chart.check(field, 3)
        if len(field) != len(leads):
            raise ShapeError(f"{name!r} has {len(field)} frames, there are {len(leads)} lead times.")
    figure, images, clock = _stage(frames, chart, leads, kind, label, title)
    # Laid out once: every frame has the same panels.
    FigureCanvasAgg(figure).draw()
    figure.set_layout_engine("none")
    writer = writers[path.suffix](fps=rate)
    try:
        with writer.saving(figure, str(path), dpi=DPI):
            for k in range(len(leads)):
                for image, field in zip(images, frames.values(), strict=True):
                    image.set_array(field[k].detach().cpu().numpy())
                clock.set_text(days(leads[k]))
                writer.grab_frame()
    except OSError as error:
        raise FileError(f"{path} could not be written: {error}.") from error
    return path


def _stage(
    frames: dict[str, Tensor], chart: Chart, leads: Tensor, kind: Kind, label: str, title: str
) -> tuple[Figure, list[Any], Any]:
    from matplotlib.figure import Figure

    first = next(iter(frames.values()))
    scale = limits(kind, first)
    width = 8.8 / len(frames)
    figure = Figure(figsize=(9.8, max(width * chart.ratio, 1.8) + 1.1), layout="constrained", facecolor="white")
    axes = figure.subplots(1, len(frames), squeeze=False)[0]
    images = []
    for i, (ax, (name, field)) in enumerate(zip(axes, frames.items(), strict=True)):
        images.append(chart.draw(ax, field[0], labels=i == 0, **scale))
        ax.set_title(name, fontsize=12)
    bar = figure.colorbar(images[0], ax=list(axes), shrink=0.85, pad=0.015)
    bar.set_label(label, fontsize=11)
    clock = figure.suptitle(days(leads[0]), fontsize=12)
    if title:
        figure.supxlabel(title, fontsize=10)
    return figure, images, clock

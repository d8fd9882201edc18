"""What a run tells while it goes on: TensorBoard, a progress bar, a history."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Logger(Protocol):
    """Takes one record per validation: step, loss, valid, lr, horizon, seconds."""

    def record(self, row: dict[str, Any]) -> None: ...

    def close(self, summary: dict[str, Any]) -> None: ...


class TensorBoardLogger:
    """Scalars, hyper-parameters and a figure of the curves as TensorBoard events in ``folder``."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))
        self.settings = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in settings.items()}
        self.rows: list[dict[str, Any]] = []

    def record(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                self.writer.add_scalar(f"training/{name}", value, row["step"])

    def close(self, summary: dict[str, Any]) -> None:
        metrics = {f"summary/{k}": float(v) for k, v in summary.items() if isinstance(v, int | float)}
        self.writer.add_hparams(self.settings, metrics, run_name=".")
        self.writer.add_figure("training/curves", self._curves())
        self.writer.close()

    def _curves(self) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        for name in ("loss", "valid"):
            points = [(r["step"], r[name]) for r in self.rows if r.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=name)
        axes.set(xlabel="step", ylabel="mean square error", yscale="log")
        if axes.lines:
            axes.legend()
        return figure


class ProgressBar:
    """A rich progress bar with the latest losses."""

    def __init__(self, steps: int, start: int = 0) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("training"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )  # fmt: skip
        self.progress.start()
        self.task = self.progress.add_task("training", total=steps, completed=start, note="")

    def record(self, row: dict[str, Any]) -> None:
        valid = "" if row.get("valid") is None else f" valid {row['valid']:.2e}"
        note = f"loss {row['loss']:.2e}{valid} horizon {row['horizon']}"
        self.progress.update(self.task, completed=row["step"], note=note)

    def close(self, summary: dict[str, Any]) -> None:
        self.progress.update(self.task, note=f"best step {summary['best_step']}")
        self.progress.stop()

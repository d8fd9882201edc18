"""A forecaster as one graph that runs without leads."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from leads.adaptation import Adapted
from leads.errors import DivergenceError, FileError, LeadsError, SettingsError, UnknownNameError
from leads.integrators import tableau
from leads.integrators.fixed import _step
from leads.registry import nearest
from leads.version import __version__

#: Numbers -> numbers: what a file that was read again computes.
Program = Callable[[Tensor], Tensor]


def export(
    adapted: Adapted,
    path: str | Path,
    x0: Tensor,
    times: Tensor,
    format: str = "torch_export",
    tolerance: float = 1e-4,
) -> Path:
    """Write the forecast from initial states as a graph of plain tensor operations, and check it against the model.

    The graph takes ``x0`` and gives the states at ``times``. Baked in are the contexts, the times, every integration step
    (unrolled), and the shape of ``x0``: another number of trajectories or another grid is another export. It needs
    neither leads nor its configuration: ``torch.export.load(path).module()(x0)``, or an ONNX runtime with the input
    ``"x0"`` and the output ``"states"``.

    Args:
        adapted: the forecaster.
        path: of the file, usually ``.pt2`` or ``.onnx``.
        x0: initial states as for :meth:`leads.Adapted.forecast`, on which it is checked too.
        times: shape ``(T,)``, the first that of ``x0``.
        format: ``"torch_export"`` or ``"onnx"`` (needs ``pip install 'leads-dynamics[serving]'``).
        tolerance: largest difference to the model, relative to the largest state, from ``x0`` and from initial states
            near it.

    Returns:
        ``path``.

    Raises:
        ShapeError, DataError: initial states or times that do not fit.
        DivergenceError: the forecast itself is not finite, so there is nothing to check against.
        SettingsError: the format has no form for an operation of the backbone (Fourier transforms in ONNX, for one), or
            the file computes something else; nothing is left at ``path`` but what was there.
        FileError: the file could not be written.
    """
    if format not in FORMATS:
        raise UnknownNameError(f"No export format is named {format!r}. {nearest(str(format), FORMATS)}")
    write, read = FORMATS[format]
    path = Path(path)
    x0 = x0.to(adapted.like())
    # The first trial is the one traced; a second tells a graph from a constant.
    trials = [x0, x0 * 1.01 + 0.01 * x0.abs().mean()]
    wanted = [adapted.forecast(x, times) for x in trials]
    if not all(bool(torch.isfinite(w).all()) for w in wanted):
        raise DivergenceError("The forecast from these initial states is not finite. Shorten the times.")
    about = {"leads": __version__, "times": times.tolist(), "x0": list(x0.shape), "recipe": adapted.model.recipe}
    # PyTorch reads its own files by this suffix alone.
    part = path.with_name(f".{path.name}.{os.getpid()}.part.{'pt2' if format == 'torch_export' else format}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _attempt(lambda: write(_graph(adapted, x0, times), x0, part, about), adapted, format)
        run = _attempt(lambda: read(part), adapted, format)
        for x, want in zip(trials, wanted, strict=True):
            got = _attempt(partial(run, x), adapted, format).detach()
            worst = float((got - want).abs().max() / want.abs().max().clamp_min(1e-30))
            if not worst <= tolerance:
                raise SettingsError(
                    f"The exported graph differs from the model by {worst:.2g} of the largest state, more than "
                    f"tolerance={tolerance:g}: it was not kept. Try the other format, or float64."
                )
        os.replace(part, path)
    except OSError as error:
        if isinstance(error, LeadsError):
            raise
        raise FileError(f"Could not write {path}: {error}.") from error
    finally:
        for left in path.parent.glob(f"{part.name}*"):
            left.unlink()
    return path


def _graph(adapted: Adapted, x0: Tensor, times: Tensor) -> nn.Module:
    """The forecast traced with real numbers: what does not depend on ``x0`` (weights of the environments, steps) is
    computed once and constant."""
    model, grid = adapted.model, times.double().tolist()
    rule = tableau(model.method)
    if model.history > 1:
        raise SettingsError(
            f"Models that see past frames (history={model.history}) cannot be exported; serve them with leads."
        )

    def forecast(x: Tensor) -> Tensor:
        prepared = model.adapter.prepare_all(adapted.contexts)
        field = lambda s, y: model.adapter.forward_all(s, y, prepared)  # noqa: E731
        states = [x]
        for t0, t1 in pairwise(grid):
            h = (t1 - t0) / model.substeps
            for i in range(model.substeps):
                t = t0 + i * h
                x = _step(rule, field, t, x, h) if rule.order else x + field(x.new_full((), t), x)
            states.append(x)
        return torch.stack(states, 2)

    with torch.no_grad():
        return make_fx(forecast)(x0)


def _write_torch(graph: nn.Module, x0: Tensor, path: Path, about: dict[str, Any]) -> None:
    torch.export.save(torch.export.export(graph, (x0,)), path, extra_files={"leads.json": json.dumps(about)})


def _read_torch(path: Path) -> Program:
    return torch.export.load(path).module()


def _write_onnx(graph: nn.Module, x0: Tensor, path: Path, about: dict[str, Any]) -> None:
    program = torch.onnx.export(
        graph, (x0,), dynamo=True, input_names=["x0"], output_names=["states"], verbose=False, optimize=True
    )
    assert program is not None
    program.model.metadata_props["leads"] = json.dumps(about)
    program.save(str(path), external_data=False)


def _read_onnx(path: Path) -> Program:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> Tensor:
        found = session.run(["states"], {"x0": x.detach().cpu().numpy()})[0]
        return torch.from_numpy(np.asarray(found)).to(x)

    return run


FORMATS: dict[str, tuple[Callable[[nn.Module, Tensor, Path, dict[str, Any]], None], Callable[[Path], Program]]] = {
    "torch_export": (_write_torch, _read_torch),
    "onnx": (_write_onnx, _read_onnx),
}


def _attempt(step: Callable[[], Any], adapted: Adapted, format: str) -> Any:
    """``step()``, with what the exporter cannot do as a reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            return step()
    except (LeadsError, OSError):
        raise
    except ImportError as error:
        raise SettingsError(
            f"The format {format!r} needs more: pip install 'leads-dynamics[serving]' ({error})."
        ) from error
    except Exception as error:  # exporters raise dozens of types
        network = adapted.model.recipe.get("backbone", type(adapted.model.adapter).__name__)
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        first = (str(root).strip().splitlines() or [type(root).__name__])[0]
        raise SettingsError(
            f"A model with the backbone {network!r} cannot be exported as {format!r}: {first[:300]} Operations without a "
            "form there, such as Fourier transforms of complex numbers in ONNX, cannot; try format='torch_export'."
        ) from error

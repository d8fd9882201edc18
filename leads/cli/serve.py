"""``leads serve``: the HTTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    model: Annotated[Path, typer.Argument(help="a run folder, a model file or an adapted model's file")],
    host: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on", min=1, max=65535)] = 8000,
    seconds: Annotated[float, typer.Option(help="longest work on one request")] = 60.0,
    body: Annotated[int, typer.Option(help="most bytes of a request")] = 16 * 2**20,
    environments: Annotated[int, typer.Option(help="most environments of a request")] = 1000,
    calibration: Annotated[
        Path | None, typer.Option(help="file of a calibration; that of a run folder or an adapted model if not given")
    ] = None,
) -> None:
    """Serve a model over HTTP: adapt to observations, forecast. See docs/serving.md.

    There is no authentication: keep it on this machine, or behind a proxy that has one.
    """
    import torch

    from leads.errors import SettingsError
    from leads.serving import Limits, Service

    service = Service.load(model, Limits(seconds=seconds, body=body, environments=environments), calibration)
    try:
        import uvicorn

        from leads.serving.app import create_app
    except ImportError as error:
        raise SettingsError(f"Serving needs more: pip install 'leads-dynamics[serving]' ({error}).") from error
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    uvicorn.run(create_app(service), host=host, port=port, log_level="warning")

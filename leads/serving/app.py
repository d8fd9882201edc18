"""The HTTP service: ``health``, ``model``, ``adapt``, ``forecast``; JSON in and out, errors with their reason.

FastAPI is an extra: ``pip install 'leads-dynamics[serving]'``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leads.errors import LeadsError
from leads.serving.deadline import Deadline
from leads.serving.limits import BusyError, TooLargeError, UnknownIdError
from leads.serving.service import Service
from leads.version import __version__

STATUS: dict[type[LeadsError], int] = {TooLargeError: 413, UnknownIdError: 404, BusyError: 503}


class AdaptRequest(BaseModel):
    """Observations of new environments."""

    model_config = ConfigDict(extra="forbid", strict=True)
    states: list[Any] = Field(description="(E, N, T, C, *X) as nested lists; null where nothing was observed")
    times: list[Any] = Field(description="(T,), strictly increasing")
    iterations: int = Field(50, ge=1, le=200, description="most iterations of the solver")
    prior: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="weight of |context - start|^2; null: as needed"
    )
    initial: Literal["given", "estimated"] = Field("given", description="estimated: first frames are noisy or missing")
    noise: float | None = Field(None, gt=0, allow_inf_nan=False, description="known standard deviation")


class ForecastRequest(BaseModel):
    """Where to start, when, and in which environments."""

    model_config = ConfigDict(extra="forbid", strict=True)
    x0: list[Any] = Field(description="(E, N, C, *X) as nested lists")
    times: list[Any] = Field(description="(T,), strictly increasing; the first is that of x0")
    id: str | None = Field(None, max_length=64, description="of an adaptation")
    contexts: dict[str, Any] | None = Field(None, description="as /adapt gives them, instead of an id")
    standard_deviations: bool = Field(False, description="also the spread over the posterior of the contexts")
    level: float | None = Field(
        None, gt=0, lt=1, description="of the bands, which a calibrated service gives; 0.9 if null"
    )


def create_app(service: Service) -> FastAPI:
    """The application around a service."""
    app = FastAPI(title="leads", version=__version__, description="Few-shot adaptation and forecasts.")
    app.add_middleware(_BoundedBody, most=service.limits.body)
    # One request computes at a time: a second would only slow both.
    turn = anyio.Semaphore(1)

    async def work(function: Callable[[Deadline], dict[str, Any]]) -> JSONResponse:
        deadline = Deadline(service.limits.seconds)
        started = anyio.Event()

        async def alone() -> dict[str, Any]:
            async with turn:
                started.set()
                return await anyio.to_thread.run_sync(function, deadline)

        task = asyncio.ensure_future(alone())
        try:
            return JSONResponse(await asyncio.wait_for(asyncio.shield(task), service.limits.seconds))
        except TimeoutError as error:
            if not started.is_set():
                task.cancel()
            # The thread ends itself at its next evaluation of the field; nobody waits for its result.
            task.add_done_callback(lambda t: None if t.cancelled() else t.exception())
            raise deadline.passed() from error

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "leads": __version__}

    @app.get("/model")
    async def model() -> dict[str, Any]:
        return service.card()

    @app.post("/adapt")
    async def adapt(request: AdaptRequest) -> JSONResponse:
        r = request
        settings = {"iterations": r.iterations, "prior": r.prior, "initial": r.initial, "noise": r.noise}
        return await work(lambda deadline: service.adapt(r.states, r.times, deadline, **settings))

    @app.post("/forecast")
    async def forecast(request: ForecastRequest) -> JSONResponse:
        r = request
        asked = (r.x0, r.times, r.id, r.contexts, r.standard_deviations, r.level)
        return await work(lambda deadline: service.forecast(*asked, deadline=deadline))

    @app.exception_handler(LeadsError)
    async def refused(request: Request, error: LeadsError) -> JSONResponse:
        del request
        return _error(STATUS.get(type(error), 422), type(error).__name__, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        # What was sent is not sent back: it may be large, or no JSON at all.
        parts = [f"{'.'.join(str(p)[:40] for p in e['loc'][1:])}: {e['msg']}" for e in error.errors()[:5]]
        return _error(422, "InvalidRequest", "; ".join(parts)[:1000])

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        del request
        return _error(error.status_code, "HTTPError", str(error.detail))

    return app


def _error(status: int, name: str, detail: str) -> JSONResponse:
    return JSONResponse({"error": name, "detail": detail}, status_code=status)


class _BoundedBody:
    """Refuses bodies beyond ``most`` bytes: by their announced length, and while they arrive."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self.most:
            await self._refuse(scope, receive, send)
            return
        chunks, got, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunks.append(message.get("body", b""))
            got += len(chunks[-1])
            if got > self.most:
                await self._refuse(scope, receive, send)
                return
            more = message.get("more_body", False)
        await self.app(scope, _replay(b"".join(chunks), receive), send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"A request may have at most {self.most} bytes. Send fewer environments at a time."
        await _error(413, "TooLargeError", detail)(scope, receive, send)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again

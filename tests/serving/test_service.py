"""The HTTP service: the numbers of the library, limits, and hostile requests answered with a reason."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("fastapi")
import httpx
from fastapi.testclient import TestClient

import leads
from leads.dynamics import DecomposedDynamics
from leads.serving import Limits, Service
from leads.serving.app import create_app
from leads.trajectories import DataSplits

LIMITS = Limits(body=200_000, environments=5, trajectories=5, frames=30, values=50_000, kept=2)


@pytest.fixture(scope="module")
def client(coda: DecomposedDynamics) -> TestClient:
    return TestClient(create_app(Service(coda, LIMITS)))


def observations(data: DataSplits) -> dict[str, Any]:
    return {"states": data.adapt.states.tolist(), "times": data.adapt.times.tolist()}


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    body = answer.json()
    assert answer.status_code == status, body
    assert body.keys() == {"error", "detail"}
    assert all(w in body["detail"] for w in words), body["detail"]


def test_health_and_card(client: TestClient, coda: DecomposedDynamics) -> None:
    assert client.get("/health").json() == {"status": "ok", "leads": leads.__version__}
    card = client.get("/model").json()
    assert [c["name"] for c in card["channels"]] == [c.name for c in leads.make("lotka_volterra").system.channels]
    assert all(c["unit"] for c in card["channels"])
    assert card["state_shape"] == [2]
    assert card["context"] == {"code": [2]}
    assert card["context_size"] == 2
    assert card["parameters"] == sum(p.numel() for p in coda.parameters())
    refused(client.get("/nothing"), 404)
    refused(client.get("/adapt"), 405)


def test_the_numbers_are_those_of_the_library(client: TestClient, coda: DecomposedDynamics, data: DataSplits) -> None:
    want = leads.adapt(coda, data.adapt)
    got = client.post("/adapt", json=observations(data)).json()
    assert got["converged"] == [True] * 4
    assert got["warnings"] == []
    torch.testing.assert_close(torch.tensor(got["contexts"]["code"]), want.contexts["code"], rtol=1e-5, atol=1e-6)
    assert want.covariance is not None
    torch.testing.assert_close(torch.tensor(got["covariance"]).double(), want.covariance, rtol=1e-4, atol=1e-12)
    x0, t = data.adapt_test.initial, data.adapt_test.times
    request = {"x0": x0.tolist(), "times": t.tolist()}
    one = client.post("/forecast", json={**request, "id": got["id"], "standard_deviations": True}).json()
    forecast = want.forecast(x0, t)
    assert one["finite"]
    torch.testing.assert_close(torch.tensor(one["states"]), forecast, rtol=1e-4, atol=1e-5)
    spread = want.ensemble(x0, t).std(0)
    torch.testing.assert_close(torch.tensor(one["standard_deviations"]), spread, rtol=1e-2, atol=1e-5)
    other = client.post("/forecast", json={**request, "contexts": got["contexts"]}).json()
    torch.testing.assert_close(torch.tensor(other["states"]), forecast, rtol=1e-4, atol=1e-5)


def test_missing_values(client: TestClient, data: DataSplits) -> None:
    request = observations(data)
    for row in request["states"][1][0][5:]:
        row[0] = None
    got = client.post("/adapt", json=request).json()
    assert got["converged"] == [True] * 4
    request["states"][1][0] = [[1.0, 1.0], *([None, None] for _ in range(18)), [None, 1.0]]
    assert "Environment 1 has no more observations" in " ".join(client.post("/adapt", json=request).json()["warnings"])
    request["states"][0][0][0][0] = None
    refused(client.post("/adapt", json=request), 422, "first frame must be observed")


def test_few_ids_are_kept(client: TestClient, data: DataSplits) -> None:
    first, second, third = (client.post("/adapt", json=observations(data)).json()["id"] for _ in range(3))
    ask = lambda key: client.post("/forecast", json={"x0": data.adapt.initial.tolist(), "times": [0.0, 0.5], "id": key})
    refused(ask(first), 404, "No adaptation has the id", "Adapt again")
    assert ask(second).status_code == ask(third).status_code == 200


def test_a_diverging_forecast_is_null(client: TestClient, data: DataSplits) -> None:
    code = [[1e20, 1e20]]
    got = client.post("/forecast", json={"x0": [[[1.0, 1.0]]], "times": [0, 1, 2], "contexts": {"code": code}}).json()
    assert got["finite"] is False
    assert got["states"][0][0][0] == [1.0, 1.0]
    assert got["states"][0][0][2] == [None, None]


ROW = [[[[1.0, 1.0], [1.0, 1.1]]]]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"states": ROW}, 422, "times"),
        ({"states": ROW, "times": [0, 1], "solver": "x"}, 422, "solver"),
        ({"states": "x", "times": [0, 1]}, 422, "states"),
        ({"states": ROW, "times": [0, 1], "iterations": 10**9}, 422, "iterations"),
        ({"states": ROW, "times": [0, 1], "prior": -1.0}, 422, "prior"),
        ({"states": [], "times": [0, 1]}, 422, "empty"),
        ({"states": [[[1.0]]], "times": [0, 1]}, 422, "nested 4 deep, got 3"),
        ({"states": [[[[[[1.0]]]]]], "times": [0, 1]}, 422, "nested 4 deep, got more"),
        ({"states": [[[[1.0, 1.0], [1.0]]]], "times": [0, 1]}, 422, "same length"),
        ({"states": [[[[1.0, "1"], [1.0, 1.0]]]], "times": [0, 1]}, 422, "finite numbers, or null"),
        ({"states": [[[[1.0, True], [1.0, 1.0]]]], "times": [0, 1]}, 422, "'True'"),
        ({"states": [[[[1.0, {}], [1.0, 1.0]]]], "times": [0, 1]}, 422, "'{}'"),
        ({"states": [[[[1.0, 10**400], [1.0, 1.0]]]], "times": [0, 1]}, 422, "finite"),
        ({"states": ROW, "times": [1, 0]}, 422, "increase"),
        ({"states": ROW, "times": [0, None]}, 422, "times must hold finite numbers"),
        ({"states": ROW, "times": [0, 1, 2]}, 422, "T = 2"),
        ({"states": [[[[1.0, 1.0]]]], "times": [0]}, 422, "at least two"),
        ({"states": [[[[1.0], [1.0]]]], "times": [0, 1]}, 422, "forecasts states"),
        ({"states": ROW * 6, "times": [0, 1]}, 413, "6 environments, at most 5"),
        ({"states": [[[[1.0, 1.0]] * 31]], "times": list(range(31))}, 413, "at most 30"),
    ],
)
def test_bad_observations(client: TestClient, body: dict[str, Any], status: int, words: str) -> None:
    refused(client.post("/adapt", json=body), status, words)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 90_000, b'{"states":' * 9_000, b"9" * 5000,
        b'{"states": [[[[NaN, 1.0], [1.0, 1.0]]]], "times": [0, 1]}',
        b'{"states": [[[[1e999, 1.0], [1.0, 1.0]]]], "times": [0, 1]}',
        b'{"states": ' + b"[" * 900 + b"]" * 900 + b', "times": [0, 1]}',
        b"\x80\x04\x95cposix\nsystem\n",
    ],
    ids=range(12),
)  # fmt: skip
def test_hostile_bodies(coda: DecomposedDynamics, content: bytes) -> None:
    """Answers are 4xx with a reason, and the service lives on; an exception would be raised here by the client."""
    client = TestClient(create_app(Service(coda, LIMITS)))
    for kind in ("application/json", "application/octet-stream"):
        answer = client.post("/adapt", content=content, headers={"content-type": kind})
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["detail"]
        assert len(answer.content) < 2000
    assert client.get("/health").status_code == 200


def test_large_bodies(client: TestClient) -> None:
    refused(client.post("/adapt", content=b" " * 200_001), 413, "200000 bytes")
    parts = (b" " * 50_000 for _ in range(6))  # no length is announced
    refused(client.post("/adapt", content=parts), 413, "200000 bytes")
    refused(client.post("/adapt", content=b"{}", headers={"content-length": "-1"}), 413)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"id": None}, 422, "either the id"),
        ({"id": "nothing"}, 404, "No adaptation"),
        ({"id": "x" * 65}, 422, "id"),
        ({"contexts": {"kode": [[0, 0]]}, "id": None}, 422, "['code']"),
        ({"contexts": {"code": [[0, 0, 0]]}, "id": None}, 422, "(E, 2)"),
        ({"contexts": {"code": [[0, 0], [0, 0]]}, "id": None}, 422, "shape (2, N, 2)"),
        ({"contexts": {"code": [[0, 0]]}, "id": None, "standard_deviations": True}, 422, "no covariance"),
        ({"contexts": {"code": [[0, 0]]}, "id": None, "times": [0] * 31}, 413, "31 numbers, at most 30"),
        ({"contexts": {"code": [[0, 0]]}, "id": None, "x0": [[[1.0, None]]]}, 422, "finite"),
    ],
)
def test_bad_forecasts(client: TestClient, change: dict[str, Any], status: int, words: str) -> None:
    body = {"x0": [[[1.0, 1.0]]], "times": [0.0, 1.0], "id": "x", **change}
    refused(client.post("/forecast", json={k: v for k, v in body.items() if v is not None}), status, words)


def test_too_long_work(coda: DecomposedDynamics, data: DataSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(coda, Limits(seconds=0.2))
    monkeypatch.setattr(service, "adapt", lambda *a, **k: time.sleep(0.7) or {})
    with TestClient(create_app(service)) as client:
        refused(client.post("/adapt", json=observations(data)), 503, "No answer within 0.2 s")
        refused(client.post("/adapt", json=observations(data)), 503)  # waits for its turn
        assert client.get("/health").status_code == 200
        time.sleep(0.8)
        monkeypatch.undo()
        service.limits = Limits()
        assert client.post("/adapt", json=observations(data)).status_code == 200


def test_an_adapted_model(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    adapted = leads.adapt(coda, data.adapt)
    adapted.save(tmp_path / "a.safetensors")
    client = TestClient(create_app(Service.load(tmp_path / "a.safetensors")))
    x0, t = data.adapt.initial, data.adapt.times
    got = client.post("/forecast", json={"x0": x0.tolist(), "times": t.tolist(), "id": "saved"}).json()
    torch.testing.assert_close(torch.tensor(got["states"]), adapted.forecast(x0, t), rtol=1e-4, atol=1e-5)


def test_a_real_server(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    leads.save_model(coda, tmp_path / "m.safetensors")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "leads.cli", "serve", str(tmp_path / "m.safetensors"), "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            assert server.poll() is None, server.stderr.read() if server.stderr else ""
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        got = httpx.post(f"{url}/adapt", json=observations(data), timeout=60).json()
        want = leads.adapt(coda, data.adapt)
        torch.testing.assert_close(torch.tensor(got["contexts"]["code"]), want.contexts["code"], rtol=1e-4, atol=1e-5)
        refused(httpx.post(f"{url}/adapt", content=json.dumps({"states": 1})), 422)
    finally:
        server.terminate()
        server.wait(timeout=20)

"""The HTTP service: the numbers of the library, limits, and hostile requests answered with a reason."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("fastapi")
import httpx
from fastapi.testclient import TestClient

import leads
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import SettingsError
from leads.serving import Limits, Service
from leads.serving.app import create_app
from leads.serving.deadline import Deadline
from leads.serving.limits import BusyError
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


def test_the_thread_ends_with_its_time(coda: DecomposedDynamics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a forecast of 30,000 steps no more are made once the answer is due; the next request has its turn at once."""
    steps = [0]
    forward = type(coda.adapter).forward_all

    def counted(self: Any, *args: Any) -> torch.Tensor:
        steps[0] += 1
        return forward(self, *args)

    monkeypatch.setattr(type(coda.adapter), "forward_all", counted)
    service = Service(coda, Limits(seconds=0.5, frames=40_000))
    times = [0.001 * i for i in range(30_000)]
    code = {"contexts": {"code": [[0.0, 0.0]]}, "x0": [[[1.0, 1.0]]]}
    with TestClient(create_app(service)) as client:
        refused(client.post("/forecast", json={**code, "times": times}), 503, "No answer within 0.5 s")
        time.sleep(0.3)
        made = steps[0]
        time.sleep(0.3)
        assert 0 < made == steps[0] < 4 * 29_999
        service.limits = Limits()
        assert client.post("/forecast", json={**code, "times": [0.0, 0.5]}).json()["finite"]


@pytest.mark.parametrize("method", ["coda", "cavia_film", "leads"])
def test_a_deadline_ends_every_solver(method: str, coda: DecomposedDynamics, data: DataSplits) -> None:
    model = coda if method == "coda" else leads.build(method, data.train, backbone_settings={"width": 8})
    watched = Deadline(60).watch(model)
    want, got = (leads.adapt(m, data.adapt, steps=3) for m in (model, watched))
    assert all(torch.equal(got.contexts[k], v) for k, v in want.contexts.items())
    assert got.fingerprint() == want.fingerprint()
    assert isinstance(watched.adapter, type(model.adapter))
    with pytest.raises(BusyError, match="No answer within 0 s"):
        leads.adapt(Deadline(0).watch(model), data.adapt, steps=3)


def test_calibrated_bands(coda: DecomposedDynamics, lotka: EnvironmentFamily, data: DataSplits, tmp_path: Path) -> None:
    calibration = leads.calibrate(coda, *leads.held_out_environments(lotka, 25, truth=2, seed=1))
    leads.save_model(coda, tmp_path / "m.safetensors")
    calibration.save(tmp_path / "c.safetensors")
    client = TestClient(create_app(Service.load(tmp_path / "m.safetensors", calibration=tmp_path / "c.safetensors")))
    assert client.get("/model").json()["calibrated"] is True
    got = client.post("/adapt", json=observations(data)).json()
    assert got["calibrated"] is True
    x0, t = data.adapt_test.initial, data.adapt_test.times
    request = {"x0": x0.tolist(), "times": t.tolist(), "id": got["id"]}
    answer = client.post("/forecast", json=request).json()
    want = leads.adapt(coda, data.adapt).bands(x0, t, 0.9, calibration=calibration)
    assert answer["calibrated"] is True
    assert answer["bands"]["level"] == 0.9
    for side in ("lower", "upper"):
        torch.testing.assert_close(torch.tensor(answer["bands"][side]), getattr(want, side), rtol=1e-3, atol=1e-4)
    narrow = client.post("/forecast", json={**request, "level": 0.5, "standard_deviations": True}).json()
    assert narrow["bands"]["level"] == 0.5
    width = lambda a: (torch.tensor(a["bands"]["upper"]) - torch.tensor(a["bands"]["lower"]))[:, :, 1:].mean()
    assert float(width(narrow)) < float(width(answer))
    assert "posterior of the context alone" in narrow["notes"][0]
    longer = client.post("/forecast", json={**request, "times": [*t.tolist(), float(t[-1]) + 5]}).json()
    assert any("calibrated up to" in n for n in longer["notes"])
    refused(client.post("/forecast", json={**request, "level": 0.99}), 422, "need at least 99")
    two = {"states": data.adapt.states.expand(-1, 2, -1, -1).tolist(), "times": data.adapt.times.tolist()}
    assert any("calibrated with 1" in w for w in client.post("/adapt", json=two).json()["warnings"])
    given = client.post(
        "/forecast", json={"x0": [[[1.0, 1.0]]], "times": [0, 1], "contexts": {"code": [[0, 0]]}}
    ).json()
    assert given["calibrated"] is False
    adapted = leads.adapt(coda, data.adapt).calibrated(calibration)
    adapted.save(tmp_path / "a.safetensors")
    saved = TestClient(create_app(Service.load(tmp_path / "a.safetensors")))
    assert saved.post("/forecast", json={**request, "id": "saved"}).json()["calibrated"] is True
    with pytest.raises(SettingsError, match="another model"):
        Service(leads.build("coda", data.train, backbone_settings={"width": 16}), calibration=calibration)


def test_without_a_calibration_it_says_so(client: TestClient, data: DataSplits) -> None:
    key = client.post("/adapt", json=observations(data)).json()["id"]
    request = {"x0": data.adapt.initial.tolist(), "times": [0.0, 0.5], "id": key}
    answer = client.post("/forecast", json={**request, "standard_deviations": True}).json()
    assert answer["calibrated"] is False
    assert "standard_deviations are not calibrated" in answer["notes"][0]
    assert "bands" not in answer
    refused(client.post("/forecast", json={**request, "level": 0.9}), 422, "no calibration", "leads calibrate")
    refused(client.post("/forecast", json={**request, "level": 1.5}), 422, "level")


def test_first_states_and_noise(client: TestClient, coda: DecomposedDynamics, data: DataSplits) -> None:
    request = observations(data) | {"initial": "estimated", "noise": 0.01}
    request["states"][1][0][0][0] = None
    got = client.post("/adapt", json=request).json()
    mask = torch.ones_like(data.adapt.states, dtype=torch.bool)
    mask[1, 0, 0, 0] = False
    want = leads.adapt(coda, replace(data.adapt, mask=mask), initial="estimated", noise=0.01)
    torch.testing.assert_close(torch.tensor(got["initial"]), want.initial, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.tensor(got["contexts"]["code"]), want.contexts["code"], rtol=1e-3, atol=1e-4)
    refused(client.post("/adapt", json=observations(data) | {"noise": 0}), 422, "noise")
    refused(client.post("/adapt", json=observations(data) | {"initial": "found"}), 422, "initial")


def test_an_adapted_model(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    adapted = leads.adapt(coda, data.adapt)
    adapted.save(tmp_path / "a.safetensors")
    client = TestClient(create_app(Service.load(tmp_path / "a.safetensors")))
    x0, t = data.adapt.initial, data.adapt.times
    got = client.post("/forecast", json={"x0": x0.tolist(), "times": t.tolist(), "id": "saved"}).json()
    torch.testing.assert_close(torch.tensor(got["states"]), adapted.forecast(x0, t), rtol=1e-4, atol=1e-5)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_real_server(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    leads.save_model(coda, tmp_path / "m.safetensors")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "leads.cli",
        "serve",
        str(tmp_path / "m.safetensors"),
        "--port",
        str(port),
        "--seconds",
        "4",
    ]
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
        # Work that runs out of time leaves the process idle.
        x0 = [[[1.0, 1.0]] * 3] * 4
        body = {"x0": x0, "times": [0.001 * i for i in range(9_999)], "id": got["id"], "standard_deviations": True}
        refused(httpx.post(f"{url}/forecast", json=body, timeout=60), 503, "No answer within 4 s")
        time.sleep(0.5)
        before = cpu_seconds(server.pid)
        time.sleep(0.6)
        assert cpu_seconds(server.pid) - before < 0.2
    finally:
        server.terminate()
        server.wait(timeout=20)

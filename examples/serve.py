"""Serve a model over HTTP and adapt to a new environment from a client that knows nothing of leads.

    python examples/serve.py [training steps]

The client here is FastAPI's, in the same process; with ``leads serve model.safetensors`` it is any HTTP client.
"""

import sys
import tempfile
from pathlib import Path

import torch
from fastapi.testclient import TestClient

import leads
from leads.serving import Limits, Service, export
from leads.serving.app import create_app


def main(steps: int = 1000) -> None:
    family = leads.make("lotka_volterra")
    data = leads.generate(family)
    model = leads.build("coda", family, spread=0.1, context_penalty=1e-6)
    leads.fit(model, data.train, data.valid, steps=steps, average=0.99)

    client = TestClient(create_app(Service(model, Limits(environments=100))))
    print(client.get("/model").json()["channels"])
    observed = {"states": data.adapt.states.tolist(), "times": data.adapt.times.tolist()}
    found = client.post("/adapt", json=observed).json()
    print("contexts", found["contexts"]["code"], "converged", found["converged"])

    test = data.adapt_test
    request = {"id": found["id"], "x0": test.initial.tolist(), "times": test.times.tolist()}
    answer = client.post("/forecast", json=request | {"standard_deviations": True}).json()
    forecast = torch.tensor(answer["states"])
    print(f"mse {float((forecast - test.states).square().mean()):.3e}")

    # The same forecaster as a file that runs without leads.
    adapted = leads.adapt(model, data.adapt)
    with tempfile.TemporaryDirectory() as folder:
        path = export(adapted, Path(folder) / "forecaster.pt2", test.initial, test.times[:5])
        states = torch.export.load(path).module()(test.initial).detach()
    print(f"exported: {tuple(states.shape)}, largest difference {float((states - forecast[:, :, :5]).abs().max()):.1e}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))

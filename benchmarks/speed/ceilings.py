"""What this machine can do at most: products, convolutions, Fourier transforms, copies, and launching an operator."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch


@dataclass(frozen=True)
class Ceilings:
    """Rates of one process on this device.

    Attributes:
        product: floating-point operations a second of a large matrix product in float32.
        convolution: the same of a 3 x 3 convolution of 64 channels, forward.
        transform: points a second of a batch of real two-dimensional transforms.
        copy: bytes a second, read and written, of copying an array larger than the caches.
        launch: seconds of one small operator that autograd records.
    """

    product: float
    convolution: float
    transform: float
    copy: float
    launch: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def seconds_of(function: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    """The least of some timings, each of enough calls to take 20 ms."""
    for _ in range(2):
        function()
    _wait(device)
    began = time.perf_counter()
    function()
    _wait(device)
    calls = max(1, int(0.02 / max(time.perf_counter() - began, 1e-7)))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(calls):
            function()
        _wait(device)
        times.append((time.perf_counter() - began) / calls)
    return min(times)


def measure(device: torch.device) -> Ceilings:
    """Measure this machine's ceilings; about a second."""
    a = torch.randn(1536, 1536, device=device)
    x, w = torch.randn(4, 64, 32, 32, device=device), torch.randn(64, 64, 3, 3, device=device)
    field = torch.randn(80, 32, 32, device=device)
    big = torch.randn(2**24, device=device)
    out = torch.empty_like(big)
    small = torch.randn(8, device=device, requires_grad=True)
    with torch.no_grad():
        product = 2 * 1536**3 / seconds_of(lambda: a @ a, device)
        convolution = 2 * 4 * 32 * 32 * 64 * 64 * 9 / seconds_of(lambda: torch.conv2d(x, w, padding=1), device)
        transform = field.numel() / seconds_of(lambda: torch.fft.rfft2(field), device)
        copy = 2 * big.numel() * 4 / seconds_of(lambda: out.copy_(big), device)
    launches = [seconds_of(lambda: small + small, device) for _ in range(3)]
    return Ceilings(product, convolution, transform, copy, statistics.median(launches))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""Published figures that were verified in a source, for tables beside ours. Recalled ones are left out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published test error; ``spread`` is what the source prints after the plus-minus sign."""

    method: str
    family: str
    split: str
    protocol: str
    metric: str
    mean: float
    spread: float | None
    source: str


_CODA = "CoDA authors' ICML 2022 poster"
_GEPS = "GEPS project page"
_LEADS = "LEADS README (spread over test minibatches of one run)"

#: method: (Lotka-Volterra in, adapted, Gray-Scott in, adapted) as (mean, spread) in units of 1e-5 and 1e-3
_POSTER = {
    "MAML": ((60.3, 1.3), (3150.0, 940.0), (3.67, 0.53), (2.25, 0.39)),
    "LEADS": ((3.70, 0.27), (47.61, 12.47), (2.90, 0.76), (1.36, 0.43)),
    "CAVIA-FiLM": ((4.38, 1.15), (8.41, 3.20), (2.81, 1.15), (1.43, 1.07)),
    "CAVIA-Concat": ((2.43, 0.66), (6.26, 0.77), (2.67, 0.48), (1.62, 0.85)),
    "CoDA-l2": ((1.52, 0.08), (1.82, 0.24), (1.01, 0.15), (0.77, 0.10)),
    "CoDA-l1": ((1.35, 0.22), (1.24, 0.20), (0.900, 0.057), (0.74, 0.10)),
}

#: method: (glycolytic oscillator in, adapted, Navier-Stokes in, adapted) in units of 1e-4
_POSTER_OTHERS = {
    "MAML": ((57.3, 2.1), (1081.0, 62.0), (68.0, 8.0), (51.1, 4.0)),
    "LEADS": ((31.4, 3.3), (113.8, 41.5), (14.0, 1.55), (28.6, 7.23)),
    "CAVIA-FiLM": ((4.44, 1.46), (3.87, 1.28), (23.2, 12.1), (22.6, 9.88)),
    "CAVIA-Concat": ((5.09, 0.35), (2.37, 0.23), (25.5, 6.31), (26.0, 8.24)),
    "CoDA-l2": ((2.45, 0.38), (1.98, 0.06), (9.40, 1.13), (10.3, 1.48)),
    "CoDA-l1": ((2.20, 0.26), (1.86, 0.29), (8.35, 1.71), (9.65, 1.37)),
}

#: method: (pendulum in, adapted, Burgers in, adapted, Kolmogorov in, adapted) in units of 1e-2, 1e-3 and 1e-1. The
#: public data of Burgers and Kolmogorov repeat environments, and their LEADS and APHYNITY have no penalty.
_PAGE_OTHERS: dict[str, tuple[tuple[float, float], ...]] = {
    "LEADS": ((20.8, 1.01), (51.1, 3.47), (6.31, 0.52), (64.1, 2.65), (5.61, 0.37), (9.18, 0.14)),
    "CAVIA": ((56.8, 9.73), (91.8, 15.8), (15.5, 1.06), (225.0, 7.94), (6.19, 0.02), (8.48, 0.16)),
    "FOCA": ((41.0, 4.31), (91.4, 9.70), (92.2, 8.21), (157.0, 23.6), (6.30, 0.02), (9.18, 0.14)),
    "CoDA": ((21.7, 1.08), (66.2, 3.17), (4.98, 0.19), (74.5, 6.15), (4.02, 0.57), (6.34, 1.11)),
    "GEPS": ((20.8, 0.10), (50.8, 3.90), (2.59, 0.02), (52.9, 5.87), (2.94, 0.04), (5.10, 0.11)),
    "APHYNITY": ((67.2, 9.68), (69.0, 0.35), (31.9, 0.08), (307.0, 1.40)),
    "Phys-Ad": ((64.4, 1.10), (58.4, 1.85), (15.1, 0.10), (89.9, 8.65)),
    "GEPS-Phy": ((8.04, 0.81), (46.0, 3.64), (5.43, 0.35), (68.1, 3.75), (2.78, 0.03), (4.47, 0.17)),
}

_NCF = "NCF authors' run logs (one run)"

#: (family, split, in, adapted) of the second-order variant. Left out: Navier-Stokes, half of whose test set was trained
#: on, and Sel'kov, where the logs and the paper's table differ tenfold.
_LOGS = (
    ("glycolytic_oscillator", "coda", 3.34e-4, 2.84e-4),
    ("brusselator", "ncf", 0.346, 0.377),
    ("gray_scott", "coda", 6.15e-3, 4.62e-3),
)

#: Gray-Scott in units of 1e-2. CAVIA's and FOCA's in-domain cells are left out: they contradict the ranking that the
#: page itself marks, almost certainly by a slipped decimal.
_PAGE: dict[str, tuple[tuple[float, float] | None, tuple[float, float]]] = {
    "CAVIA": (None, (23.1, 6.86)),
    "FOCA": (None, (14.5, 3.34)),
    "LEADS": ((3.11, 0.25), (3.81, 0.77)),
    "CoDA": ((3.19, 0.07), (2.89, 4.03)),
    "GEPS": ((2.22, 0.18), (1.86, 2.11)),
}

_DYAD = "DyAd, NeurIPS 2022, Table 1: future / domain, normalised velocity, 20 steps"

#: Turbulence: (future, domain) as (mean, spread).
_TURBULENCE = {
    "ResNet": ((0.94, 0.10), (0.65, 0.02)),
    "ResNet-c": ((0.88, 0.03), (0.64, 0.01)),
    "U-Net": ((0.92, 0.02), (0.68, 0.02)),
    "Unet-c": ((0.86, 0.07), (0.68, 0.03)),
    "PredRNN": ((0.75, 0.02), (0.75, 0.01)),
    "VarSepNet": ((0.67, 0.05), (0.63, 0.05)),
    "Mod-attn": ((0.63, 0.12), (0.92, 0.03)),
    "Mod-wt": ((0.58, 0.03), (0.60, 0.07)),
    "MetaNet": ((0.76, 0.13), (0.76, 0.08)),
    "MAML": ((0.63, 0.01), (0.68, 0.02)),
    "DyAd+ResNet": ((0.42, 0.01), (0.51, 0.02)),
    "DyAd+Unet": ((0.58, 0.01), (0.59, 0.01)),
    "DyAd+Unet-Big": ((0.57, 0.02), (0.59, 0.01)),
}


def _table() -> list[Published]:
    rows = []
    for method, cells in _POSTER.items():
        places = (("lotka_volterra", 1e-5), ("lotka_volterra", 1e-5), ("gray_scott", 1e-3), ("gray_scott", 1e-3))
        for i, ((family, unit), (mean, std)) in enumerate(zip(places, cells, strict=True)):
            protocol = ("in-domain", "adaptation")[i % 2]
            rows.append(Published(method, family, "coda", protocol, "mse", mean * unit, std * unit, _CODA))
    for method, cells in _POSTER_OTHERS.items():
        for i, (mean, std) in enumerate(cells):
            family, protocol = ("glycolytic_oscillator", "navier_stokes")[i // 2], ("in-domain", "adaptation")[i % 2]
            rows.append(Published(method, family, "coda", protocol, "mse", mean * 1e-4, std * 1e-4, _CODA))
    for method, cells_others in _PAGE_OTHERS.items():
        for i, (mean, std) in enumerate(cells_others):
            family, unit = (("pendulum", 1e-2), ("burgers", 1e-3), ("kolmogorov", 1e-1))[i // 2]
            protocol = ("in-domain", "adaptation")[i % 2]
            rows.append(Published(method, family, "geps", protocol, "relative_l2", mean * unit, std * unit, _GEPS))
    for family, split, *values in _LOGS:
        for protocol, mean in zip(("in-domain", "adaptation"), values, strict=True):
            rows.append(Published("NCF-t2", family, split, protocol, "mse", mean, None, _NCF))
    for method, cells_page in _PAGE.items():
        for protocol, cell in zip(("in-domain", "adaptation"), cells_page, strict=True):
            if cell is None:
                continue
            mean, std = cell
            rows.append(
                Published(method, "gray_scott", "geps", protocol, "relative_l2", mean * 1e-2, std * 1e-2, _GEPS)
            )
    for method, cells_dyad in _TURBULENCE.items():
        for protocol, (mean, std) in zip(("in-domain", "adaptation"), cells_dyad, strict=True):
            rows.append(Published(method, "turbulence", "dyad", protocol, "rmse", mean, std, _DYAD))
    rows.append(Published("LEADS", "lotka_volterra", "leads", "in-domain", "mse", 1.16e-3, 0.99e-3, _LEADS))
    rows.append(Published("LEADS", "gray_scott", "leads", "in-domain", "mse", 2.08e-3, 2.88e-3, _LEADS))
    return rows


PUBLISHED = _table()


def published(family: str, split: str, protocol: str | None = None) -> list[Published]:
    """The verified figures of one split, best first."""
    rows = [p for p in PUBLISHED if (p.family, p.split) == (family, split) and protocol in (None, p.protocol)]
    return sorted(rows, key=lambda p: p.mean)

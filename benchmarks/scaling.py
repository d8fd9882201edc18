"""Making sets of 1 to 10,000 environments of Lotka-Volterra: speed, and memory, streamed and in memory.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py

32 trajectories of 20 frames in each environment, at reference accuracy, written to Zarr; fresh environments inside the
seen range. Streamed in chunks of 0.5 MiB, which 102 environments fill. Every row is a process of its own on one core; its
memory is the peak resident set, ``above_start`` that less what it was once everything was imported and a set of one
environment was made. Writes benchmarks/results/scaling.json.
"""

from __future__ import annotations

import datetime
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAJECTORIES, CHUNK = 32, 2**19
COUNTS = {"streamed": (1, 10, 100, 1000, 10000), "in memory": (100, 1000, 10000)}


def peak() -> float:
    """Peak resident set so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def measure(way: str, environments: int) -> dict[str, object]:
    import torch

    import leads
    from leads.trajectories import fresh_environments, save, stream
    from leads.trajectories.generate import initial_states, simulate

    torch.set_num_threads(1)
    lotka = leads.make("lotka_volterra")
    family = fresh_environments(lotka, environments)

    def make(parameters: torch.Tensor, path: Path) -> None:
        if way == "streamed":
            stream(family, parameters, TRAJECTORIES, family.times, path, chunk=CHUNK)
            return
        x0 = initial_states(family, lambda k: k, TRAJECTORIES, len(parameters))
        data = simulate(family.system, parameters, x0, family.times, estimate_error=False, dtype=torch.float32)
        save(data, path)

    with tempfile.TemporaryDirectory() as folder:
        make(family.seen[:1], Path(folder) / "first.zarr")
        start, began, worked = peak(), time.perf_counter(), time.process_time()
        make(family.seen, Path(folder) / "all.zarr")
        seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    return {
        "way": way, "environments": environments, "trajectories": environments * TRAJECTORIES, "seconds": seconds,
        "cpu_seconds": cpu, "environments_per_second": environments / seconds,
        "environments_per_cpu_second": environments / cpu,
        "set_MiB": environments * TRAJECTORIES * len(family.times) * 2 * 4 / 2**20,
        "peak_MiB": peak(), "above_start_MiB": peak() - start,
    }  # fmt: skip


def main() -> None:
    rows = []
    for way, counts in COUNTS.items():
        for n in counts:
            done = subprocess.run([sys.executable, __file__, way, str(n)], capture_output=True, text=True, check=True)
            row = json.loads(done.stdout)
            rows.append(row)
            print(
                f"{way:10s} {n:6d} environments {row['seconds']:7.2f} s, {row['environments_per_second']:7.1f} a second "
                f"({row['environments_per_cpu_second']:.1f} a second of processor time); set "
                f"{row['set_MiB']:6.1f} MiB, peak {row['peak_MiB']:6.1f} MiB (+{row['above_start_MiB']:.1f})", flush=True,
            )  # fmt: skip
    import torch

    result = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/scaling.py",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "chunk_MiB": CHUNK / 2**20,
        "rows": rows,
    }
    (Path(__file__).parent / "results" / "scaling.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()

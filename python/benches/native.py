"""What Python costs beside the native engine: the same requests as numpy columns and as a file for `accel simulate`.

    python python/benches/native.py target/release/accel

Prints CPU seconds of whole processes less those of starting one, and their ratio.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ACCESSES = 10_000_000
OBJECTS = 1_000_000
POLICIES = "lru,sieve,s3-fifo"
CAPACITY = "0.1"

SCRIPT = """
import sys
import numpy
import accel_copilot as accel
if sys.argv[1] != "nothing":
    ids, sizes = numpy.load(sys.argv[1]), numpy.load(sys.argv[2])
if sys.argv[1] != "nothing" and len(sys.argv) > 3:
    print(accel.simulate({"id": ids, "size": sizes}, capacity=float(sys.argv[3]), policies=sys.argv[4]).table["misses"])
"""


def cpu(arguments: list[str]) -> tuple[float, str]:
    """CPU seconds of a process, and what it prints."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    ran = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return spent() - before, ran.stdout


def main(program: str) -> None:
    import numpy

    draw = numpy.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        # Popular and less so, as in caches of objects.
        ids = (OBJECTS * draw.random(ACCESSES) ** 4).astype("int64")
        sizes = 1_000 + ids * 7919 % 9_000
        record = numpy.zeros(ACCESSES, [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
        record["time"], record["id"], record["size"], record["next"] = numpy.arange(ACCESSES), ids, sizes, -1
        trace = Path(folder) / "t.oracleGeneral"
        record.tofile(trace)
        for name, column in [("ids", ids), ("sizes", sizes)]:
            numpy.save(Path(folder) / f"{name}.npy", column)
        arrays = [str(Path(folder) / f"{name}.npy") for name in ["ids", "sizes"]]
        of_python = [sys.executable, "-c", SCRIPT]
        of_native = [program, "simulate", "--csv", "--capacity", CAPACITY, "--policy", POLICIES, "--trace", str(trace)]
        print("| run | Python, CPU s | native, CPU s | ratio |\n| --- | ---: | ---: | ---: |")
        for run in range(3):
            start, _ = cpu([*of_python, *arrays])
            python, found = cpu([*of_python, *arrays, CAPACITY, POLICIES])
            native, wanted = cpu(of_native)
            misses = [line.split(",") for line in wanted.splitlines()]
            at = misses[0].index("misses")
            assert found.strip() == str([int(line[at]) for line in misses[1:]]), (found, wanted)
            print(f"| {run + 1} | {python - start:.2f} | {native:.2f} | {(python - start) / native:.2f} |")


if __name__ == "__main__":
    main(sys.argv[1])

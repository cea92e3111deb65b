"""Ray with two nodes in a network of their own, one of which dies in the middle: `on_ray.py FOLDER`."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from conftest import grid

HEAD, OTHER = "127.0.0.2", "127.0.0.3"
PORT = "6399"
BEGAN = time.monotonic()


def loopback_up() -> None:
    """Turns the loopback interface of this network on (netdevice(7): SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14s", b"lo", 0, b"")
        flags = struct.unpack("16sh14s", fcntl.ioctl(any_socket, 0x8913, request))[1]
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14s", b"lo", flags | 1, b""))


def say(what: str) -> None:
    """For whoever looks for where the time goes."""
    print(f"{time.monotonic() - BEGAN:.1f} s: {what}", flush=True)


def start(*arguments: str) -> None:
    ray = Path(sys.executable).with_name("ray")
    shared = ["--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
    subprocess.run([str(ray), "start", *arguments, *shared], check=True)


def raylet(node: str) -> psutil.Process:
    """The raylet of a node that was started here."""
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if (
            line
            and line[0].endswith("raylet")
            and f"--node_ip_address={node}" in line
            and f"{HEAD}:{PORT}" in " ".join(line)
        ):
            return process
    raise SystemExit(f"there is no raylet at {node}")


def main(folder: Path) -> None:
    loopback_up()
    os.environ["RAY_ADDRESS"] = f"{HEAD}:{PORT}"
    # Short: the path of a socket has 107 bytes at most.
    session = tempfile.mkdtemp(prefix="ray-")
    os.environ["RAY_TMPDIR"] = session
    try:
        start("--head", f"--node-ip-address={HEAD}", f"--port={PORT}", "--include-dashboard=false")
        start(f"--address={HEAD}:{PORT}", f"--node-ip-address={OTHER}")
        import ray

        import accel_copilot as accel

        ray.init(address=f"{HEAD}:{PORT}", _node_ip_address=HEAD, log_to_driver=False)
        assert len(ray.nodes()) == 2
        say("two nodes are there")
        accel.sweep(grid(), out=folder / "whole", engine=ray, progress=False)
        say("a whole sweep is done")
        killed = []

        def kill(done: int, total: int, what: str) -> None:
            if not killed:
                killed.append(raylet(OTHER).pid)
                os.kill(killed[0], signal.SIGKILL)
                say("one raylet is gone")

        accel.sweep(grid(), out=folder / "killed", engine=ray, progress=kill)
        say("the sweep is whole without it")
        ray.shutdown()
    finally:
        # Those of this network alone: `ray stop` would end others of the same machine.
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if f"{HEAD}:{PORT}" in line and process.pid != os.getpid():
                process.kill()
        shutil.rmtree(session, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

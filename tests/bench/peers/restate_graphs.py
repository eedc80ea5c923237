"""Restate: a handler whose steps do nothing, each kept by the server before the next; server and handler on 127.0.0.1.

Takes the path of `restate-server`. Starting both is not timed; a call through the ingress is.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

from graph_times import print_medians


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(port: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode}")
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"port {port} did not open")


def post(url: str, body) -> object:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read() or b"null")


def main(server: str) -> None:
    ingress, admin, node, handler = free_ports(4)
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w") as log:
        settings = {
            "RESTATE_BASE_DIR": folder,
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_ADVERTISED_HOST": "127.0.0.1",
            "RESTATE_BIND_PORT": str(node),
            "RESTATE_INGRESS__BIND_PORT": str(ingress),
            "RESTATE_ADMIN__BIND_PORT": str(admin),
            "RESTATE_LOG_FILTER": "error",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }
        started = [
            subprocess.Popen([server, "--no-logo"], env={**os.environ, **settings}, stdout=log, stderr=log),
            subprocess.Popen(
                [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{handler}", "restate_handler:app"],
                cwd=Path(__file__).parent, stdout=log, stderr=log,
            ),
        ]
        try:
            for port, process in ((admin, started[0]), (ingress, started[0]), (handler, started[1])):
                wait_for(port, process)
            post(f"http://127.0.0.1:{admin}/deployments", {"uri": f"http://127.0.0.1:{handler}"})
            made = subprocess.check_output([server, "--version"], text=True).split()[-1]
            row = f"Restate {made} with its Python SDK {version('restate_sdk')}, survives kill -9"
            call = lambda shape, count: lambda: post(f"http://127.0.0.1:{ingress}/Bench/{shape}", count)
            print_medians(row, {1: 7, 10: 7, 100: 3, 1000: 1}, call)
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(20)


# So that server and handler end with this program when it is stopped.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
main(sys.argv[1])

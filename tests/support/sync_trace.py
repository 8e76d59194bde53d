"""What system calls say of syncs: strace on running nodes, and a checker of its lines.

    with traced({"n1": pid, ...}, folder) as traces:
        ...
    unsynced(read_traces(traces), ids, majority=2)

A sync is an ``fdatasync`` or ``fsync``, or the kernel's own: ``io_submit`` with ``FDSYNC``, done when ``io_getevents`` has
given its result. It covers what was written to that file before it began. Does not know what is in a file: a
task is found by its id, in what is written to the journal as well as in the answer to the client.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_CALLS: Final = (
    "pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg,fsync,fdatasync,io_submit,io_getevents"
)
_SHOWN_BYTES: Final = 65_536  # of each buffer: an id must not be cut off
_END_S: Final = 30.0
# pid, time, the rest: a whole call, its beginning, or its end.
_LINE: Final = re.compile(r"(?P<pid>\d+) +(?P<at>[\d.]+) (?P<call>.*)")
_TOOK: Final = re.compile(r"= (?P<result>-?\d+).*?(?:<(?P<took>[\d.]+)>)?$")
_RESUMED: Final = re.compile(r"<\.\.\. (?P<name>\w+) resumed>")
_FILE: Final = re.compile(r"\w+\(\d+<(?P<path>/[^>]*)>")
_SYNCED_FILE: Final = re.compile(r"IOCB_CMD_FDSYNC, aio_fildes=\d+<(?P<path>/[^>]*)>")
_RESULTS: Final = re.compile(r"res=(?P<result>-?\d+)")


@dataclass(slots=True)
class Call:
    """One system call. Seconds since the epoch; ``text`` is all of it as strace writes it."""

    text: str
    began_s: float
    ended_s: float

    @property
    def path(self) -> str:
        """The file, "" if it is none."""
        found = _FILE.match(self.text)
        return found["path"] if found else ""


@dataclass(slots=True)
class Trace:
    """What one node did."""

    writes: list[Call] = field(default_factory=list)  # to the journal
    replies: list[Call] = field(default_factory=list)  # to sockets
    syncs: list[tuple[str, float, float]] = field(default_factory=list)  # path, began, ended


@contextmanager
def traced(pids: Mapping[str, int], folder: Path) -> Iterator[dict[str, Path]]:
    """Trace running processes by name; gives the files that are complete at the end."""
    files = {name: folder / f"{name}.strace" for name in pids}
    tracers = [_attach(pid, files[name]) for name, pid in pids.items()]
    try:
        yield files
    finally:
        for tracer in tracers:
            tracer.terminate()
        for tracer in tracers:
            tracer.wait(_END_S)
            assert tracer.stderr is not None
            tracer.stderr.close()


def _attach(pid: int, file: Path) -> "subprocess.Popen[str]":
    tracer = subprocess.Popen(
        [
            "strace", "--follow-forks", "--absolute-timestamps=precision:us,format:unix", "--syscall-times=us",
            "--decode-fds=path", f"--string-limit={_SHOWN_BYTES}", f"--trace={_CALLS}",
            f"--attach={pid}", f"--output={file}",
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    assert "attached" in said, said
    return tracer


def read_trace(lines: Sequence[str]) -> Trace:
    """Understand the lines of one node."""
    trace = Trace()
    submitted: list[tuple[str, float]] = []  # syncs in the kernel, first in first out
    for call in _calls(lines):
        name = call.text.partition("(")[0]
        if name in {"fsync", "fdatasync"}:
            trace.syncs.append((call.path, call.began_s, call.ended_s))
        elif name == "io_submit":
            submitted += [
                (found["path"], call.began_s) for found in _SYNCED_FILE.finditer(call.text)
            ]
        elif name == "io_getevents":
            for found in _RESULTS.finditer(call.text):
                path, began_s = submitted.pop(0)
                if found["result"] == "0":
                    trace.syncs.append((path, began_s, call.ended_s))
        elif "/journal/" in call.path:
            trace.writes.append(call)
        elif not call.path:
            trace.replies.append(call)
    return trace


def _calls(lines: Sequence[str]) -> Iterator[Call]:
    """Calls that succeeded, in the order of their ends."""
    begun: dict[str, tuple[str, float]] = {}
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            continue
        pid, at_s, text = found["pid"], float(found["at"]), found["call"]
        if text.endswith("<unfinished ...>"):
            begun[pid] = (text.removesuffix("<unfinished ...>"), at_s)
            continue
        took = _TOOK.search(text)
        if took is None or int(took["result"]) < 0:
            continue
        if _RESUMED.match(text):
            start, began_s = begun.pop(pid, ("", at_s))
            yield Call(start + _RESUMED.sub("", text), began_s, at_s)
        else:
            yield Call(text, at_s, at_s + float(took["took"] or 0))


def unsynced(traces: Mapping[str, Trace], ids: Sequence[str], majority: int) -> list[str]:
    """A sentence for each of these tasks whose insert was acknowledged with too few syncs before."""
    found = []
    for id_ in ids:
        replied_s = [
            call.began_s
            for trace in traces.values()
            for call in trace.replies
            if " ok " in call.text and id_ in call.text
        ]
        if not replied_s:
            found.append(f"{id_}: no answer is in the traces")
            continue
        synced = [name for name, trace in traces.items() if _is_synced(trace, id_, min(replied_s))]
        if len(synced) < majority:
            found.append(f"{id_}: acknowledged when it was synced on {synced}")
    return found


def _is_synced(trace: Trace, id_: str, before_s: float) -> bool:
    return any(
        path == call.path and call.ended_s <= began_s and ended_s <= before_s
        for call in trace.writes
        if id_ in call.text
        for path, began_s, ended_s in trace.syncs
    )

"""A child process that serves HTTP and the text protocol with hardly a file descriptor to spare.

    python -m tests.support.few_descriptors LOOP SPARE

Prints the two ports, then serves until its stdin ends.
"""

import asyncio
import resource
import sys
from pathlib import Path

import uvloop

from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.observability.metrics import Metrics
from raftq_cluster.servers.http.server import HttpServer
from raftq_cluster.servers.text.server import TextServer
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service


async def serve(spare: int) -> None:
    """Serve until stdin ends."""
    service = Service(MemoryBackend())
    await service.start()
    http = HttpServer(Doors(service), "127.0.0.1", 0, node_id="n1", metrics=Metrics("0"))
    text = TextServer(Doors(service), "127.0.0.1", 0)
    await http.start()
    await text.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + spare, hard))
    sys.stdout.write(f"{http.address[1]} {text.address[1]}\n")
    sys.stdout.flush()
    await ended.wait()
    await text.stop(0)
    await http.stop(0)
    await service.stop()


if __name__ == "__main__":
    (uvloop.run if sys.argv[1] == "uvloop" else asyncio.run)(serve(int(sys.argv[2])))

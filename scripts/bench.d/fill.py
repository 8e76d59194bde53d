"""Puts many waiting tasks into the queue that ``text_client.py`` goes round in.

usage: fill.py HOST:PORT TASKS

Not a benchmark: ``scripts/bench`` runs it before the ones that want a full node. Prints no figures.
"""

import json
import socket
import sys

QUEUE = "/bench/text"
VALUE = "x" * 64
BATCH = 1_000  # inserts in a modify: what a node takes


def request(number: int, inserts: int) -> bytes:
    """A modify of the text protocol's ``call``."""
    body = json.dumps({"inserts": [{"queue": QUEUE, "value": VALUE}] * inserts}).encode()
    return b"%d call modify %d %b\n" % (number, len(body), body)


def main() -> None:
    address, tasks = sys.argv[1], int(sys.argv[2])
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        replies = connection.makefile("rb")
        for number, first in enumerate(range(0, tasks, BATCH)):
            connection.sendall(request(number, min(BATCH, tasks - first)))
            reply = replies.readline()
            if reply.split(b" ", 2)[1] != b"ok":
                raise ConnectionError(f"the node answered {reply[:200]!r}")


if __name__ == "__main__":
    main()

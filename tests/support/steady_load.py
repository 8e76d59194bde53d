"""A client that works on a cluster all the time, and remembers every request that failed.

with SteadyLoad(cluster.text_url()) as load:
    ...
    load.more(100)        # wait until so many cycles more are done
assert load.failures == []
"""

import threading
from types import TracebackType
from typing import Final, Self

import raftq

QUEUE: Final = "/load"
_CALL_S: Final = 60.0
_MORE_S: Final = 120.0


class SteadyLoad:
    """Puts a task in, claims one, and deletes it, again and again, with retries as every client has them."""

    def __init__(self, url: str) -> None:
        self.failures: list[str] = []
        self.cycles = 0
        self._url = url
        self._is_over = False
        self._done = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="steady load")

    def more(self, cycles: int) -> None:
        """Wait until so many more cycles are done."""
        with self._done:
            wanted = self.cycles + cycles
            assert self._done.wait_for(
                lambda: self.cycles >= wanted or bool(self.failures), _MORE_S
            ), "the load does not get on"

    def _run(self) -> None:
        with raftq.Client(self._url, claimant="load", timeout_s=_CALL_S) as client:
            while not self._is_over:
                try:
                    self._cycle(client)
                except raftq.RaftqError as error:
                    self.failures.append(repr(error))
                with self._done:
                    self.cycles += 1
                    self._done.notify_all()

    def _cycle(self, client: raftq.Client) -> None:
        client.put(QUEUE, self.cycles)
        client.delete(*client.claim(QUEUE, wait_ms=1_000))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        self._thread.join()

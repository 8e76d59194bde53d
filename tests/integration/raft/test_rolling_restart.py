"""Three real nodes restarted one after the other while clients work: nobody's request fails."""

import threading

import pytest
from tests.support.cluster_process import ClusterProcess, until

import raftq

pytestmark = pytest.mark.slow
WORKERS = 4
ROUNDS = 2


class Work:
    """Inserts, claims and deletes without a pause, through all nodes, until it is told to stop."""

    def __init__(self, url: str, number: int) -> None:
        self.done = 0
        self.errors: list[BaseException] = []
        self._url = url
        self._queue = f"/q{number}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with raftq.Client(self._url) as client:
            while not self._stop.is_set():
                try:
                    task = client.put(self._queue, self.done)
                    (claimed,) = client.claim(self._queue, limit=1)
                    assert claimed.id == task.id
                    client.modify(deletes=[claimed])
                except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to say
                    self.errors.append(error)
                    return
                self.done += 1

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


def is_settled(cluster: ClusterProcess, node_id: str) -> bool:
    members = cluster.status(node_id).get("members", [])
    return len(members) == 3 and all(0 <= m["last_contact_ms"] < 2_000 for m in members)


def test_a_rolling_restart_under_load_fails_no_request(tmp_path):
    with ClusterProcess(tmp_path, 3) as cluster:
        works = [Work(cluster.text_url(), number) for number in range(WORKERS)]
        for _ in range(ROUNDS):
            leader = cluster.leader()
            for node_id in [*sorted({"n1", "n2", "n3"} - {leader}), leader]:
                before = [work.done for work in works]
                assert cluster[node_id].stop() == 0
                cluster.start(node_id)
                until(lambda of=node_id: is_settled(cluster, of), "the node is back")
                until(
                    lambda was=before: all(
                        work.done > done or work.errors
                        for work, done in zip(works, was, strict=True)
                    ),
                    "everybody has done something since",
                )
        for work in works:
            work.end()
        assert [work.errors for work in works] == [[]] * WORKERS
        with raftq.Client(cluster.text_url()) as client:
            assert client.queues() == []

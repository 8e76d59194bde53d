"""Real ``raftqd`` processes in each form that a deployment can have, for suites that run over all of them.

    with OF_ONE["postgres"](tmp_path) as nodes:      # also "standalone"
        nodes["n1"].kill()
    with OF_THREE["postgres"](tmp_path) as nodes:    # also "cluster"
        nodes.kill(nodes.leader())

Over PostgreSQL every node says that it leads.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from tests.support.cluster_process import ClusterProcess
from tests.support.postgres_server import fresh_flags, shared_server

Opened = Callable[[Path], AbstractContextManager[ClusterProcess]]


class _Beside(ClusterProcess):
    """Nodes that need not know each other."""

    form_a_cluster = False


def _over_postgres(count: int) -> Opened:
    @contextmanager
    def opened(folder: Path) -> Iterator[ClusterProcess]:
        with fresh_flags(shared_server()) as flags, _Beside(folder, count, *flags) as nodes:
            yield nodes

    return opened


def _over_raft(count: int) -> Opened:
    return lambda folder: ClusterProcess(folder, count)


OF_ONE: Final = {"standalone": _over_raft(1), "postgres": _over_postgres(1)}
OF_THREE: Final = {"cluster": _over_raft(3), "postgres": _over_postgres(3)}

"""One cluster for tests that leave it as they found it."""

from collections.abc import Iterator

import pytest
from tests.support.cluster_process import ClusterProcess


@pytest.fixture(scope="module", params=[3, 5], ids=["three", "five"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("cluster"), request.param) as running:
        yield running

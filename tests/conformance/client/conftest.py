"""Every way to a cluster, for the suites beside this file."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.deployments import DEPLOYMENTS, Cluster

from raftq import AsyncClient


@pytest_asyncio.fixture(params=DEPLOYMENTS)
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with DEPLOYMENTS[request.param]() as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> AsyncClient:
    return cluster.client("me")

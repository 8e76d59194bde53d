"""The suites of what a node serves run over each store that it can have."""

from collections.abc import Iterator

import pytest
from tests.support.stores import STORES, stored_in

OVER_EACH_STORE = {"http", "text", "taskq_http", "entroq"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.path.parent.name in OVER_EACH_STORE:
        metafunc.fixturenames.insert(0, "store")
        metafunc.parametrize("store", STORES, indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    with stored_in(request.param):
        yield request.param

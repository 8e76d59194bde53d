"""The suites of what a node serves run over each store that it can have."""

from collections.abc import Iterable, Iterator

import pytest
from tests.support.stores import QUICK, STORES, stored_in

# Docs, and the dialects whose own clients run unchanged: over whatever a node can be.
OVER_EACH_STORE = {"taskq_http", "entroq", "text/test_text_taskq.py", "http/test_http_docs.py"}
OVER_TWO_STORES = {"http", "text"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    path = metafunc.definition.path
    folder = path.parent.name
    if {folder, f"{folder}/{path.name}"} & OVER_EACH_STORE:
        _parametrize(metafunc, STORES)
    elif folder in OVER_TWO_STORES:
        _parametrize(metafunc, QUICK)


def _parametrize(metafunc: pytest.Metafunc, stores: Iterable[str]) -> None:
    metafunc.fixturenames.insert(0, "store")
    metafunc.parametrize("store", stores, indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    with stored_in(request.param):
        yield request.param

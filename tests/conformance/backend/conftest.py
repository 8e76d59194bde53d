"""The backends that every test of this folder runs over."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.backend_subjects import DURABLE, KINDS, Subject


@pytest_asyncio.fixture(params=KINDS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with KINDS[request.param].open() as opened:
        yield opened


@pytest_asyncio.fixture(params=DURABLE)
async def durable(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with KINDS[request.param].open() as opened:
        yield opened

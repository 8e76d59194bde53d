"""Every input that is kept, and a small search around them: the same every day. ``scripts/fuzz`` searches for longer."""

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.corpus import NAMES, kept, seeded, target

# A search here is for what somebody has just broken. Those that start a node or a server for each input take longer.
SLOW = {
    "http_requests": 25,
    "client_http": 25,
    "peer_messages": 25,
    "snapshot_install": 40,
    "client_text": 40,
}
EXAMPLES = 100


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Log nothing: what strangers say makes nodes log a lot."""
    caplog.set_level(logging.ERROR)
    with structlog.testing.capture_logs():
        yield


@st.composite
def changed(draw: st.DrawFn, inputs: list[bytes]) -> bytes:
    """An input that is kept, with a few bytes of it changed, removed or added."""
    data = bytearray(draw(st.sampled_from(inputs)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = at + draw(st.integers(0, 3))
        data[at:end] = draw(st.binary(max_size=6))
    return bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_breaks_no_property(name: str) -> None:
    for data in kept(name).values():
        target(name).fuzz(data)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_near_it_breaks_none_either(name: str) -> None:
    fuzz, inputs = target(name).fuzz, [*kept(name).values(), b""]

    @settings(max_examples=SLOW.get(name, EXAMPLES))
    @given(changed(inputs) | st.binary(max_size=300))
    def search(data: bytes) -> None:
        fuzz(data)

    search()


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_that_are_kept_are_those_of_the_target(name: str) -> None:
    assert kept(name) == seeded(name), "run scripts/fuzz seeds"

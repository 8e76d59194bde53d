"""Frames in a stream of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.backends.raft.transport.framing import (
    HELLO_BYTES_MAX,
    FrameReader,
    length_of,
)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(frames, piece):
    stream = b"".join(length_of(frame) + frame for frame in frames)
    reader = FrameReader()
    found = []
    for start in range(0, len(stream), piece):
        found += reader.feed(stream[start : start + piece])
    assert found == frames


@pytest.mark.parametrize("size", [0, HELLO_BYTES_MAX + 1, 2**31, 2**32 - 1])
def test_a_length_that_is_not_allowed_is_refused_before_its_bytes(size):
    with pytest.raises(PeerError, match="a frame of"):
        list(FrameReader().feed(size.to_bytes(4, "big")))


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_are_refused(data):
    reader = FrameReader()
    try:
        for frame in reader.feed(data):
            assert 0 < len(frame) <= HELLO_BYTES_MAX
    except PeerError:
        pass

"""One connection: batches in, one write out; it stops when its peer does not read, and ends well."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from tests.support.http_node import ManualClock
from tests.support.text_node import HeldBackend, until
from tests.support.text_transport import FakeTransport

from raftq.wire.documents import Problem
from raftq.wire.formats import decode
from raftq.wire.text import ReplyParser
from raftq_cluster.backends.api import Sink
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Done, Outcome, Unfinished
from raftq_cluster.servers.text.connection import Connection
from raftq_cluster.servers.text.guard import Guard
from raftq_cluster.servers.text.limits import (
    BATCH_REQUESTS_MAX,
    CONNECTIONS_REFUSED_MAX,
    IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_MAX,
    QUERIES_AT_ONCE,
    RECEIVING_BYTES_MAX,
    WRITE_HIGH_BYTES,
    Patience,
)
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service

PATIENCE = Patience(unread_s=30, linger_s=2)
LATER_S = 1_000_000_000.0  # after every deadline that a connection may have set


class Recorder(HeldBackend):
    """Remembers how many operations came in each submission."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.sizes: list[int] = []
        self.answers: Outcome | None = None  # to everything, whatever it is

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        self.sizes.append(len(operations))
        if self.answers is not None:
            sink(1, [self.answers] * len(operations))
        else:
            super().submit(operations, sink)


class Room(NamedTuple):
    """Where connections meet."""

    backend: Recorder
    service: Service
    guard: Guard

    def connect(self) -> tuple[Connection, FakeTransport]:
        connection = Connection(Doors(self.service), self.guard, "auto")
        return connection, FakeTransport(connection)


@asynccontextmanager
async def room(connections_max: int = 100) -> AsyncIterator[Room]:
    backend = Recorder()
    service = Service(backend)
    await service.start()
    yield Room(backend, service, Guard(connections_max, PATIENCE))
    await service.stop()


def enqs(count: int, body: bytes = b"x", first: int = 0) -> bytes:
    return b"".join(b"%d enq q %d %b\n" % (first + i, len(body), body) for i in range(count))


@pytest.mark.asyncio
async def test_one_piece_of_requests_is_one_submission_and_one_write() -> None:
    async with room() as here:
        connection, transport = here.connect()
        connection.data_received(enqs(200) + b"7 ping\n8 deq q\n9 ack q 1\n")
        assert here.backend.sizes == [202]
        assert len(transport.writes) == 1
        assert transport.said.endswith(b"8 deqed q 1 1 x\n9 acked q 1\n")


@pytest.mark.asyncio
async def test_replies_that_come_later_are_one_write_too() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.is_holding = True
        connection.data_received(enqs(200))
        assert transport.writes == []
        here.backend.release()
        assert len(transport.writes) == 1


@pytest.mark.asyncio
async def test_a_large_piece_is_begun_in_batches_between_which_others_run() -> None:
    async with room() as here:
        connection, transport = here.connect()
        other, its_transport = here.connect()
        connection.data_received(enqs(3 * BATCH_REQUESTS_MAX))
        assert transport.is_reading_paused
        await asyncio.sleep(0)
        other.data_received(b"1 ping\n")
        assert its_transport.said == b"1 pong\n"
        await until(lambda: len(transport.said.splitlines()) == 3 * BATCH_REQUESTS_MAX)
        assert here.backend.sizes == [BATCH_REQUESTS_MAX] * 3
        assert not transport.is_reading_paused


@pytest.mark.asyncio
async def test_no_more_requests_are_begun_than_may_be_in_flight() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.is_holding = True
        connection.data_received(enqs(2 * IN_FLIGHT_MAX))
        await until(lambda: sum(here.backend.sizes) >= IN_FLIGHT_MAX)
        for _ in range(10):
            await asyncio.sleep(0)
        assert sum(here.backend.sizes) == IN_FLIGHT_MAX
        assert transport.is_reading_paused
        here.backend.release()
        await until(lambda: len(transport.said.splitlines()) == 2 * IN_FLIGHT_MAX)
        ids = [int(line.split()[3]) for line in transport.said.splitlines()]
        assert ids == sorted(ids)
        assert not transport.is_reading_paused


@pytest.mark.asyncio
async def test_reading_stops_while_too_many_bytes_are_in_flight() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.is_holding = True
        megabyte = b"x" * 2**20
        for number in range(IN_FLIGHT_BYTES_MAX // 2**20 - 1):
            connection.data_received(enqs(1, megabyte, first=number))
            assert not transport.is_reading_paused
        connection.data_received(enqs(1, megabyte))
        assert transport.is_reading_paused
        here.backend.release()
        assert not transport.is_reading_paused


@pytest.mark.asyncio
async def test_nothing_is_begun_for_a_peer_that_does_not_read() -> None:
    async with room() as here:
        connection, transport = here.connect()
        transport.stop_reading()
        connection.data_received(b"1 enq q 100000 %b\n" % (b"x" * 100_000))
        connection.data_received(b"2 deq q\n3 nack q 1\n" * 3)
        assert transport.is_reading_paused
        begun = len(here.backend.sizes)
        connection.data_received(enqs(BATCH_REQUESTS_MAX + 1))
        await asyncio.sleep(0)
        assert transport.get_write_buffer_size() < 2 * WRITE_HIGH_BYTES
        assert len(here.backend.sizes) == begun
        transport.read_all_but(0)
        await until(lambda: transport.said.count(b" enqed ") == BATCH_REQUESTS_MAX + 2)
        assert not transport.is_reading_paused


@pytest.mark.asyncio
async def test_queries_run_a_few_at_a_time_and_none_for_a_peer_that_does_not_read() -> None:
    async with room() as here:
        connection, transport = here.connect()
        connection.data_received(b"1 enq q 100000 %b\n" % (b"x" * 100_000))
        transport.stop_reading()
        query = b'2 call tasks 13 {"queue":"q"}\n'
        connection.data_received(query * 10 * QUERIES_AT_ONCE)
        await until(lambda: transport.is_reading_paused)
        for _ in range(20):
            await asyncio.sleep(0)
        assert transport.said.count(b" ok ") < 2 * QUERIES_AT_ONCE
        for _ in range(10 * QUERIES_AT_ONCE):
            transport.read_all_but(0)
            for _ in range(5):
                await asyncio.sleep(0)
        assert transport.said.count(b" ok ") == 10 * QUERIES_AT_ONCE


@pytest.mark.asyncio
async def test_replies_are_made_only_as_fast_as_the_peer_reads() -> None:
    async with room() as here:
        connection, transport = here.connect()
        connection.data_received(b"1 enq q 100000 %b\n" % (b"x" * 100_000))
        transport.stop_reading()
        cycles = 500
        connection.data_received(b"2 deq q\n3 nack q 1\n" * cycles)
        assert here.backend.sizes == [1, 2 * cycles]
        assert transport.get_write_buffer_size() < WRITE_HIGH_BYTES + 16 * 101_000
        for _ in range(cycles):
            transport.read_all_but(0)
        assert transport.said.count(b"2 deqed ") == transport.said.count(b"3 nacked ") == cycles


@pytest.mark.asyncio
async def test_a_peer_that_takes_nothing_for_long_is_cut_off_and_a_slow_one_is_not() -> None:
    async with room() as here:
        _, transport = here.connect()
        transport.stop_reading()
        for now_s, unread_bytes in ((0, 1_000), (29, 999), (58, 998), (87, 998)):
            transport.read_all_but(unread_bytes)
            here.guard.sweep(now_s)
        assert not transport.was_aborted
        here.guard.sweep(88)
        assert transport.was_aborted


@pytest.mark.asyncio
async def test_an_idle_connection_stays() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.guard.sweep(LATER_S)
        connection.data_received(b"1 ping\n")
        assert transport.said == b"1 pong\n"
        assert not transport.was_aborted


@pytest.mark.asyncio
async def test_peers_that_vanish_are_found_by_the_kernel() -> None:
    async with room() as here:
        _, transport = here.connect()
        assert transport.options.chosen[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1


@pytest.mark.asyncio
async def test_a_broken_stream_is_answered_ended_and_left_to_the_peer_to_hang_up() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.is_holding = True
        connection.data_received(enqs(1) + b"5 foo\n6 ping\n")
        connection.data_received(b"7 ping\n")
        assert transport.said == b""
        here.backend.release()
        assert transport.said == b"0 enqed q 1\n5 error unknown verb; there is: RID help\n"
        assert transport.has_ended
        assert not transport.is_reading_paused
        connection.data_received(b"8 ping\n")
        assert connection.eof_received() is False
        assert not transport.was_aborted


@pytest.mark.asyncio
async def test_a_peer_that_does_not_hang_up_is_cut_off() -> None:
    async with room() as here:
        connection, transport = here.connect()
        connection.data_received(b"x")
        here.guard.sweep(asyncio.get_running_loop().time())
        assert not transport.was_aborted
        here.guard.sweep(LATER_S)
        assert transport.was_aborted


@pytest.mark.asyncio
async def test_last_words_must_be_taken_before_the_time_to_hang_up_begins() -> None:
    async with room() as here:
        connection, transport = here.connect()
        transport.stop_reading()
        connection.data_received(b"x")
        now_s = asyncio.get_running_loop().time()
        here.guard.sweep(now_s + 10)
        transport.read_all_but(0)
        here.guard.sweep(now_s + 20)
        here.guard.sweep(now_s + 21)
        assert not transport.was_aborted
        here.guard.sweep(now_s + 22)
        assert transport.was_aborted


@pytest.mark.asyncio
async def test_a_peer_that_sends_no_more_is_answered_then_closed() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.is_holding = True
        connection.data_received(enqs(2))
        assert connection.eof_received() is True
        assert not transport.is_closing()
        here.backend.release()
        assert transport.said == b"0 enqed q 1\n1 enqed q 2\n"
        assert transport.is_closing()
        assert not transport.was_aborted


WAITING_CLAIM = b'1 call claim 32 {"queues":["q"],"wait_ms":60000}\n'


@pytest.mark.asyncio
async def test_a_claim_does_not_wait_for_a_peer_that_sends_no_more() -> None:
    async with room() as here:
        connection, transport = here.connect()
        connection.data_received(WAITING_CLAIM)
        assert here.service.waiting() == 1
        connection.eof_received()
        assert transport.said == b'1 ok 22 {"index":0,"tasks":[]}\n'
        assert here.service.waiting() == 0
        assert transport.is_closing()


@pytest.mark.asyncio
async def test_a_lost_connection_gives_up_what_it_waits_for_and_drops_what_is_in_flight() -> None:
    async with room() as here:
        connection, transport = here.connect()
        connection.data_received(WAITING_CLAIM)
        here.backend.is_holding = True
        connection.data_received(enqs(1) + b"2 call time 2 {}\n")
        transport.lose()
        assert here.service.waiting() == 0
        here.backend.release()
        await asyncio.sleep(0)
        assert transport.writes == []
        other, its_transport = here.connect()
        other.data_received(b"3 deq q\n")
        assert its_transport.said == b"3 deqed q 1 1 x\n"


@pytest.mark.asyncio
async def test_a_connection_lost_while_requests_are_pending_begins_none_of_them() -> None:
    async with room() as here:
        connection, transport = here.connect()
        connection.data_received(enqs(BATCH_REQUESTS_MAX + 1))
        transport.lose()
        await asyncio.sleep(0)
        assert here.backend.sizes == []


@pytest.mark.asyncio
async def test_replies_to_a_closing_transport_are_dropped() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.is_holding = True
        connection.data_received(enqs(1))
        transport.close()
        here.backend.release()
        assert transport.writes == []


@pytest.mark.asyncio
async def test_a_fault_of_ours_ends_one_connection_and_no_other() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.answers = Done()
        connection.data_received(enqs(1))
        here.backend.answers = None
        assert transport.was_aborted
        other, its_transport = here.connect()
        other.data_received(enqs(1))
        assert its_transport.said == b"0 enqed q 1\n"


@pytest.mark.asyncio
async def test_a_fault_in_one_called_verb_is_an_internal_failure_of_that_call_alone() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.answers = Done()
        connection.data_received(
            b'1 call claim 16 {"queues":["q"]}\n2 call claim 16 {"queues":["q"]}\n'
        )
        assert [line.split()[:3] for line in transport.said.splitlines()] == [
            [b"1", b"fail", b"internal"], [b"2", b"fail", b"internal"],
        ]  # fmt: skip


@pytest.mark.asyncio
async def test_a_fault_in_a_query_is_an_internal_failure_of_that_query_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with room() as here:
        monkeypatch.setattr(here.backend, "read", None)
        connection, transport = here.connect()
        connection.data_received(b"1 call time 2 {}\n2 ping\n")
        await until(lambda: b"fail" in transport.said)
        assert transport.said.startswith(b"2 pong\n1 fail internal ")


@pytest.mark.parametrize("code", ["unavailable", "outcome_unknown"])
@pytest.mark.asyncio
async def test_what_was_not_certainly_done_says_so(code: str) -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.answers = Unfinished(code, "no leader\nis known")
        connection.data_received(b"1 enq q 1 x\n2 deq q\n3 ack q 1\n4 touch q 1\n")
        message = b"error %b: no leader is known" % code.encode()
        assert transport.said.splitlines() == [b"%d %b" % (rid, message) for rid in (1, 2, 3, 4)]


@pytest.mark.asyncio
async def test_a_call_of_unknown_outcome_fails_with_a_document() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.backend.answers = Unfinished("outcome_unknown", "the leader changed")
        connection.data_received(b'1 call claim 16 {"queues":["q"]}\n')
        (reply,) = ReplyParser().feed(transport.said)
        assert (reply.word, reply.text) == ("fail", "outcome_unknown")
        problem = decode(reply.body, Problem, "json")
        assert (problem.retryable, problem.index) == (True, 1)


@pytest.mark.asyncio
async def test_a_draining_service_refuses_requests_and_a_draining_server_connections() -> None:
    async with room() as here:
        connection, transport = here.connect()
        here.service.drain()
        connection.data_received(b"1 deq q\n")
        assert transport.said == b"1 error unavailable: the node is stopping\n"
        here.guard.drain()
        assert transport.has_ended
        _, late = here.connect()
        assert late.said == b"- error unavailable: the node is stopping\n"


@pytest.mark.asyncio
async def test_a_peer_that_hung_up_unnoticed_does_not_disturb_the_end_of_its_connection() -> None:
    async with room() as here:
        _, transport = here.connect()
        transport.peer_is_gone = True
        here.guard.drain()
        assert transport.was_aborted


@pytest.mark.asyncio
async def test_one_connection_too_many_is_told_so() -> None:
    async with room(connections_max=1) as here:
        _, first = here.connect()
        connection, transport = here.connect()
        assert transport.said == (
            b"- error too_busy: too many connections: the limit connections_max is 1\n"
        )
        assert transport.has_ended
        connection.data_received(b"1 ping\n")
        assert len(transport.writes) == 1
        assert here.guard.served == 1
        first.lose()
        _, next_one = here.connect()
        assert next_one.said == b""


@pytest.mark.asyncio
async def test_a_crowd_of_refused_connections_is_not_told() -> None:
    async with room(connections_max=0) as here:
        told = [here.connect()[1] for _ in range(CONNECTIONS_REFUSED_MAX)]
        assert all(b"too_busy" in transport.said for transport in told)
        _, transport = here.connect()
        assert transport.was_aborted
        assert transport.said == b""


@pytest.mark.asyncio
async def test_requests_on_their_way_have_a_limit_over_all_connections() -> None:
    async with room() as here:
        here.guard.receive(RECEIVING_BYTES_MAX - 100)
        connection, transport = here.connect()
        other, its_transport = here.connect()
        connection.data_received(b"1 enq q 1000 " + b"x" * 50)
        other.data_received(b"1 enq q 1000 " + b"x" * 50)
        assert transport.said == b""
        assert its_transport.said.startswith(b"- error too_busy: too many bytes of requests")
        its_transport.lose()
        connection.data_received(b"x" * 36)
        assert transport.said == b""
        transport.lose()
        assert here.guard.receive(100)


@pytest.mark.asyncio
async def test_over_tls_who_sends_no_more_is_answered_what_is_ready_and_closed() -> None:
    async with room() as here:
        connection, transport = here.connect()
        transport.knows_half_ends = False
        connection.data_received(b"1 enq q 1 x\n")
        transport.end()
        assert transport.said == b"1 enqed q 1\n"
        assert transport.is_closing()


@pytest.mark.asyncio
async def test_over_tls_last_words_are_followed_by_the_end() -> None:
    async with room() as here:
        connection, transport = here.connect()
        transport.knows_half_ends = False
        connection.data_received(b"nonsense\n")
        assert transport.said.startswith(b"- error ")
        assert transport.is_closing()
        assert not transport.has_ended

"""The composition root: start order, stop order, and what a failure on the way leaves behind."""

import asyncio
import errno
import socket
from dataclasses import replace

import pytest

from free_ports import free_ports
from raftq_cluster import node as node_module
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.config import StartError
from raftq_cluster.config.settings import Address, Settings
from raftq_cluster.node import Facts, Node, NodeFailedError

ANY = Address("127.0.0.1", 0)


class Running:
    """A memory node of this process."""

    def __init__(self, **settings):
        chosen = {"backend": "memory", "http": ANY, "text": ANY, "drain_ms": 5_000} | settings
        self.stopping = asyncio.Event()
        self.node = Node(Settings(**chosen), self.stopping)
        self._ready: asyncio.Future[Facts] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self.node.run(self._ready.set_result))

    async def facts(self) -> Facts:
        return await asyncio.wait_for(self._ready, 10)

    async def end(self) -> None:
        await asyncio.wait_for(self._task, 10)


async def ask_text(address: Address, line: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(line)
    answer = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


async def ask_http(address: Address, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.asyncio
async def test_a_node_says_where_it_serves_and_serves_there():
    running = Running(node_id="n7")
    facts = await running.facts()
    assert (facts.node, facts.role, facts.data) == ("n7", "leader", "memory")
    assert await ask_text(facts.text, b"1 ping\n") == b"1 pong\n"
    assert b" 200 " in await ask_http(facts.http, "/readyz")
    running.stopping.set()
    await running.end()


@pytest.mark.asyncio
async def test_a_node_whose_log_does_not_name_it_yet_serves_as_one_that_joins(monkeypatch):
    status = MemoryBackend.status
    monkeypatch.setattr(MemoryBackend, "status", lambda self: replace(status(self), members=()))
    running = Running(node_id="n7")
    assert (await running.facts()).role == "joining"
    running.stopping.set()
    await running.end()


@pytest.mark.asyncio
async def test_both_protocols_serve_the_same_tasks():
    running = Running()
    facts = await running.facts()
    assert await ask_text(facts.text, b"1 enq jobs 2 hi\n") == b"1 enqed jobs 1\n"
    assert b'"jobs"' in await ask_http(facts.http, "/v1/queues")
    running.stopping.set()
    await running.end()


@pytest.mark.asyncio
async def test_a_stopped_node_listens_no_more():
    running = Running()
    facts = await running.facts()
    running.stopping.set()
    await running.end()
    for address in (facts.http, facts.text):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)


@pytest.mark.asyncio
async def test_the_limits_of_the_settings_are_those_of_the_node():
    running = Running(value_bytes_max=1024, body_bytes_max=64 * 1024)
    facts = await running.facts()
    body = b'{"inserts":[{"queue":"q","value":"' + b"x" * 2000 + b'"}]}'
    line = b"1 call modify %d %s\n" % (len(body), body)
    assert (await ask_text(facts.text, line)).startswith(b"1 fail too_large ")
    running.stopping.set()
    await running.end()


def test_settings_and_service_agree_on_the_defaults():
    limits = node_module.Limits()
    settings = Settings()
    shared = set(Settings.__struct_fields__) & set(limits.__slots__)
    assert len(shared) >= 6
    assert {name: getattr(limits, name) for name in shared} == {
        name: getattr(settings, name) for name in shared
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("flag", ["http", "text"])
async def test_a_taken_port_is_named_and_nothing_is_left_open(flag):
    free = Address("127.0.0.1", free_ports(1)[0])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other = "text" if flag == "http" else "http"
        busy = Address(*taken.getsockname())
        running = Running(**{flag: busy, other: free})
        with pytest.raises(StartError) as caught:
            await running.end()
        assert caught.value.sentence == f"--{flag}: {busy} is taken by another process"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*free)


@pytest.mark.asyncio
@pytest.mark.parametrize("flag", ["peer", "http", "text"])
async def test_a_start_that_fails_on_a_taken_port_leaves_no_node_behind(flag, tmp_path):
    settings = {"backend": "raft", "data_dir": str(tmp_path / "data"), "peer": ANY}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = Address(*taken.getsockname())
        with pytest.raises(StartError, match=f"--{flag}: {busy} is taken by another process"):
            await Running(**(settings | {flag: busy})).end()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["lock"]
    running = Running(**settings, node_id="n1")
    assert (await running.facts()).node == "n1"
    running.stopping.set()
    await running.end()


@pytest.mark.asyncio
@pytest.mark.parametrize("flag", ["peer", "http", "text"])
async def test_an_address_of_another_machine_is_refused(flag, tmp_path):
    settings = {
        "backend": "raft",
        "data_dir": str(tmp_path / "data"),
        "peer": ANY,
        "insecure": True,
    }
    running = Running(**(settings | {flag: Address("192.0.2.1", 0)}))
    with pytest.raises(
        StartError, match=f"--{flag}: 192.0.2.1:0 is not an address of this machine"
    ):
        await running.end()


class BrokenServer:
    """A server that cannot listen for a reason nobody foresaw."""

    def __init__(self, *_args, **_kwargs):
        pass

    async def start(self):
        raise OSError(errno.EMFILE, "too many open files")


@pytest.mark.asyncio
async def test_any_other_reason_is_told_as_it_came(monkeypatch):
    monkeypatch.setattr(node_module, "TextServer", BrokenServer)
    with pytest.raises(StartError, match=r"cannot be listened on: .*too many open files"):
        await Running().end()


@pytest.mark.asyncio
async def test_a_name_that_means_nothing_is_refused(monkeypatch):
    class Unresolvable(BrokenServer):
        async def start(self):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(node_module, "TextServer", Unresolvable)
    with pytest.raises(StartError, match="cannot be resolved"):
        await Running().end()


@pytest.mark.asyncio
async def test_a_node_that_cannot_go_on_stops_and_tells_the_first_reason():
    running = Running()
    facts = await running.facts()
    running.node.fail("the disk is gone")
    running.node.fail("and so is the rest")
    with pytest.raises(NodeFailedError, match=r"^the disk is gone$"):
        await running.end()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*facts.text)


@pytest.mark.asyncio
async def test_a_waiting_claim_is_answered_before_the_node_is_gone():
    running = Running()
    facts = await running.facts()
    reader, writer = await asyncio.open_connection(*facts.text)
    body = b'{"queues":["q"],"wait_ms":60000}'
    writer.write(b"1 ping\n2 call claim %d %s\n" % (len(body), body))
    assert await reader.readline() == b"1 pong\n"
    running.stopping.set()
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith((b"2 ok ", b"2 fail unavailable "))
    writer.close()
    await writer.wait_closed()
    await running.end()

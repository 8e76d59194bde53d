"""Two and three networks on loopback: who may speak to whom, and what a stranger can do."""

import asyncio
import gc
import pickle
import random

import pytest
import pytest_asyncio
from tests.support.peer_certificates import Authority
from tests.support.raft_cluster import until

from raftq_cluster.backends.raft.peer_api import AskError, Identity, PeerError
from raftq_cluster.backends.raft.transport import accepting
from raftq_cluster.backends.raft.transport.accepting import AcceptedLink
from raftq_cluster.backends.raft.transport.framing import length_of
from raftq_cluster.backends.raft.transport.hello import PEER, Hello, pack
from raftq_cluster.backends.raft.transport.network import STRANGERS_MAX, PeerNetwork
from raftq_cluster.config import StartError

pytestmark = pytest.mark.asyncio
WAIT_S = 10.0


class Owner:
    def __init__(self, node_id, cluster_id="c1"):
        self.me = Identity(cluster_id, node_id, f"birth-{node_id}")
        self.frames = []
        self.up = []
        self.down = []
        self.received = 0
        self.why_not = ""
        self.lost = self.too_old = ""
        self.unfit = []
        self.asked = 0

    def identity(self):
        return self.me

    def admit(self, peer):
        return self.why_not or ("" if peer.cluster_id == self.me.cluster_id else "another cluster")

    def why_unfit(self, peer):
        self.asked += 1
        return self.too_old

    def what_is_lost(self, peer):
        return self.lost and f"{self.lost} {peer.end}"

    def on_unfit(self, why, *, has_lost_past):
        self.unfit.append((why, has_lost_past))

    def on_frame(self, peer, frame):
        if frame == b"poison":
            raise PeerError("poison")
        self.frames.append((peer, frame))

    def on_received(self):
        self.received += 1

    def on_up(self, peer):
        self.up.append(peer)

    def on_down(self, peer):
        self.down.append(peer)

    async def on_ask(self, peer, question):
        if question == b"bad":
            raise PeerError("bad question")
        return b"%b asked %b" % (peer.node_id.encode(), question)


class Node:
    def __init__(self, node_id, tls=None, **owner):
        self.owner = Owner(node_id, **owner)
        self.network = PeerNetwork(("127.0.0.1", 0), tls=tls, random=random.Random(1).random)

    async def start(self):
        await self.network.start(self.owner)
        return self

    @property
    def id(self):
        return self.owner.me.node_id

    def know(self, *others):
        self.network.set_peers({other.id: other.network.address for other in others})


@pytest_asyncio.fixture
async def nodes():
    started = []

    async def start(node_id, **options):
        node = await Node(node_id, **options).start()
        started.append(node)
        return node

    yield start
    for node in started:
        await node.network.stop()


async def pair(nodes, **options):
    one, other = await nodes("n1", **options), await nodes("n2", **options)
    one.know(other), other.know(one)
    await until(lambda: one.network.is_up("n2") and other.network.is_up("n1"))
    return one, other


async def raw(node):
    host, _, port = node.network.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_frames_arrive_in_order_and_what_came_together_is_told_once(nodes):
    one, other = await pair(nodes)
    for number in range(100):
        assert one.network.send("n2", b"%d" % number)
    one.network.flush()
    await until(lambda: len(other.owner.frames) == 100)
    assert other.owner.frames == [("n1", b"%d" % number) for number in range(100)]
    assert other.owner.received < 10


async def test_large_frames_pass(nodes):
    one, other = await pair(nodes)
    frame = random.Random(2).randbytes(5 << 20)
    one.network.send("n2", frame)
    one.network.flush()
    await until(lambda: other.owner.frames)
    assert other.owner.frames == [("n1", frame)]


async def test_nobody_is_sent_to_who_is_not_there(nodes):
    one = await nodes("n1")
    assert not one.network.send("n2", b"x")
    one.network.flush()


async def test_a_lost_peer_is_told_and_found_again(nodes):
    one, other = await pair(nodes)
    address = other.network.address
    await other.network.stop()
    await until(lambda: "n2" in one.owner.down and not one.network.is_up("n2"))
    again = Node("n2")
    again.network._listen = ("127.0.0.1", int(address.rpartition(":")[2]))
    await again.start()
    await until(lambda: one.network.is_up("n2"))
    assert one.owner.up == ["n2", "n2"]
    await again.network.stop()


async def test_a_node_of_another_cluster_is_refused(nodes):
    one, stranger = await nodes("n1"), await nodes("n2", cluster_id="c2")
    one.know(stranger), stranger.know(one)
    await until(lambda: one.network.refused and stranger.network.refused)
    assert not one.network.is_up("n2")
    assert one.owner.frames == stranger.owner.frames == []


async def test_a_node_that_is_not_the_one_that_is_meant_is_not_taken_for_it(nodes):
    one, other = await nodes("n1"), await nodes("n2")
    one.network.set_peers({"n3": other.network.address})
    await until(lambda: other.network.refused)
    assert not one.network.is_up("n3")


async def test_a_node_that_is_still_starting_says_so(nodes, caplog):
    one, starting = await nodes("n1"), await nodes("")
    one.network.set_peers({"n2": starting.network.address})
    await until(lambda: "n2" in caplog.text)
    assert "this node is still starting" in caplog.text
    assert not one.network.is_up("n2")


async def test_a_frame_that_is_refused_closes_its_connection_and_no_other(nodes):
    one, other = await pair(nodes)
    third = await nodes("n3")
    third.know(other)
    await until(lambda: third.network.is_up("n2"))
    third.network.send("n2", b"poison")
    third.network.flush()
    await until(lambda: "n3" in other.owner.down)
    one.network.send("n2", b"good")
    one.network.flush()
    await until(lambda: ("n1", b"good") in other.owner.frames)


async def test_what_an_accepted_connection_took_is_free_again_when_it_is_over_without_the_collector(
    nodes,
):
    def links():
        return sum(isinstance(item, AcceptedLink) for item in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = links()
        one, other = await pair(nodes)
        assert await other.network.ask(one.network.address, b"q", timeout_s=WAIT_S)
        _, stranger = await raw(one)
        stranger.write(length_of(b"x" * 100) + b"half")
        await until(lambda: links() == before + 3)
        stranger.close()
        one.network.set_peers({}), other.network.set_peers({})
        await until(lambda: links() == before)
    finally:
        gc.enable()


async def test_a_newer_connection_of_a_member_takes_the_place_of_the_older(nodes):
    one = await nodes("n1")
    hello = pack(Hello(protocol_min=1, protocol_max=1, purpose=PEER, cluster_id="c1", node_id="n2",
                       birth="b", to="n1"))  # fmt: skip
    first_reader, first = await raw(one)
    first.write(length_of(hello) + hello)
    await first_reader.readexactly(4)
    reader, second = await raw(one)
    second.write(length_of(hello) + hello)
    await reader.readexactly(4)
    first.write(length_of(b"late") + b"late")
    second.write(length_of(b"new") + b"new")
    await until(lambda: one.owner.frames)
    assert one.owner.frames == [("n2", b"new")]
    first.close(), second.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        (2**31).to_bytes(4, "big") + b"x" * 100,
        length_of(b"x" * 100) + b"x" * 100,
        length_of(pickle.dumps(print)) + pickle.dumps(print),
        length_of(b"\x80") + b"\x80",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["http", "two gigabytes", "text", "pickle", "cut", "tls"],
)
async def test_garbage_closes_its_connection_and_does_nothing_else(nodes, garbage):
    one, other = await pair(nodes)
    reader, writer = await raw(one)
    writer.write(garbage)
    async with asyncio.timeout(WAIT_S):
        while await reader.read(1000):
            pass
    writer.close()
    other.network.send("n1", b"good")
    other.network.flush()
    await until(lambda: one.owner.frames == [("n2", b"good")])


async def test_idle_connections_are_closed_and_keep_nobody_out(nodes, monkeypatch):
    monkeypatch.setattr(accepting, "HANDSHAKE_S", 0.2)
    one = await nodes("n1")
    idle = [await raw(one) for _ in range(500)]
    other = await nodes("n2")
    other.know(one), one.know(other)
    await until(lambda: other.network.is_up("n1"))
    await until(lambda: all(reader.at_eof() or reader.exception() for reader, _ in idle))
    assert len(one.network._strangers) <= STRANGERS_MAX
    for _, writer in idle:
        writer.close()


async def test_a_question_is_answered_to_whoever_asks(nodes):
    one, other = await nodes("n1"), await nodes("n2", cluster_id="")
    answer = await other.network.ask(one.network.address, b"who?", timeout_s=5.0)
    assert answer == b"n2 asked who?"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "10.0.0.1:7678"])
async def test_who_cannot_be_asked_is_one_sentence(nodes, address):
    one = await nodes("n1")
    with pytest.raises(AskError, match=address):
        await one.network.ask(address, b"who?", timeout_s=5.0)


async def test_a_question_that_is_none_is_not_answered(nodes):
    one, other = await nodes("n1"), await nodes("n2")
    with pytest.raises(AskError, match="closed"):
        await other.network.ask(one.network.address, b"bad", timeout_s=5.0)


async def test_a_taken_port_is_one_sentence(nodes):
    one = await nodes("n1")
    taken = PeerNetwork(
        ("127.0.0.1", int(one.network.address.rpartition(":")[2])), random=random.random
    )
    with pytest.raises(StartError, match=r"--peer: .* is taken by another process"):
        await taken.start(Owner("n9"))


async def test_beyond_loopback_peers_must_have_certificates():
    with pytest.raises(StartError, match="--peer-cert"):
        await PeerNetwork(("0.0.0.0", 0), random=random.random).start(Owner("n1"))


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


async def test_members_with_certificates_speak_over_tls(nodes, authority):
    one = await nodes("n1", tls=authority.certify("n1"))
    other = await nodes("n2", tls=authority.certify("n2", names=False))
    one.know(other), other.know(one)
    await until(lambda: one.network.is_up("n2") and other.network.is_up("n1"))
    one.network.send("n2", b"x" * 100_000)
    one.network.flush()
    await until(lambda: other.owner.frames)
    assert await one.network.ask(other.network.address, b"q", timeout_s=5.0) == b"n1 asked q"


async def test_a_member_with_the_certificate_of_another_is_refused(nodes, authority):
    one = await nodes("n1", tls=authority.certify("n1"))
    forger = await nodes("n2", tls=authority.certify("n3"))
    forger.know(one), one.know(forger)
    await until(lambda: one.network.refused)
    assert not forger.network.is_up("n1")
    assert not one.network.is_up("n2")
    with pytest.raises(AskError, match="certificate is not that of node n2"):
        await forger.network.ask(one.network.address, b"q", timeout_s=5.0)


async def test_a_certificate_of_another_authority_is_refused(nodes, authority, tmp_path):
    one = await nodes("n1", tls=authority.certify("n1"))
    forger = await nodes("n2", tls=Authority(tmp_path / "other").certify("n2"))
    with pytest.raises(AskError):
        await forger.network.ask(one.network.address, b"q", timeout_s=5.0)
    assert one.owner.frames == []


# asyncio leaves the socket of a handshake that never ends to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_without_tls_nobody_is_heard_on_a_tls_port(nodes, authority):
    one = await nodes("n1", tls=authority.certify("n1"))
    plain = await nodes("n2")
    with pytest.raises(AskError):
        await plain.network.ask(one.network.address, b"q", timeout_s=5.0)


async def test_a_certificate_that_cannot_be_used_is_one_sentence(authority, tmp_path):
    good = authority.certify("n1")
    for bad in (good._replace(key=tmp_path / "no"), good._replace(ca=good.key)):
        network = PeerNetwork(("127.0.0.1", 0), tls=bad, random=random.random)
        with pytest.raises(StartError, match=r"--peer-(cert|ca)"):
            await network.start(Owner("n1"))


async def test_a_node_that_is_too_old_is_told_so_and_may_come_back(nodes):
    one, other = await nodes("n1"), await nodes("n2")
    other.owner.too_old = "too old"
    one.know(other)
    await until(lambda: one.owner.unfit)
    assert one.owner.unfit[0] == ("too old", False)


async def test_nobody_ends_a_node_with_the_certificate_of_another(nodes, authority):
    one = await nodes("n1", tls=authority.certify("n1"))
    forger = await nodes("n2", tls=authority.certify("n3"))
    forger.owner.lost = "lost"
    one.know(forger)
    await until(lambda: forger.network.refused)
    forger.owner.lost = ""
    refused = forger.network.refused
    await until(lambda: forger.owner.asked > refused + 1)
    assert one.owner.unfit == []


@pytest.mark.parametrize("who_knows", ["acceptor", "dialler"])
async def test_who_must_not_go_on_gets_no_connection_and_is_told_so(nodes, who_knows):
    one, other = await nodes("n1"), await nodes("n2")
    one.owner.me = one.owner.me._replace(end=(3, 99))
    other.owner.lost = "lost"
    if who_knows == "acceptor":
        one.know(other)
        await until(lambda: one.owner.unfit)
        assert one.owner.unfit[0] == ("lost (3, 99)", True)
    else:
        other.know(one)
        await until(lambda: other.owner.asked > 1)
    assert not one.network.is_up("n2")
    assert not other.network.is_up("n1")
    assert one.owner.frames == other.owner.frames == []

"""What nodes ask each other, members or not, and answer: a value that is written back alike, or PeerError."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from raftq_cluster.backends.raft import questions
from raftq_cluster.backends.raft.commands import Member, encode_members
from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.backends.raft.transport import hello
from raftq_cluster.backends.raft.transport.hello import Hello, Refusal, Welcome
from tests.fuzz.source import Source

READERS: Final[tuple[tuple[Callable[[bytes], Any], Callable[[Any], bytes]], ...]] = (
    (questions.decode_question, questions.encode),
    (questions.decode_answer, questions.encode),
    (hello.read_hello, hello.pack),
    (hello.read_answer, hello.pack),
)


def fuzz(data: bytes) -> None:
    """Read the rest as what the first byte says."""
    source = Source(data)
    read, write = source.pick(READERS)
    try:
        said = read(source.rest())
    except PeerError as error:
        why = str(error)
    else:
        assert read(write(said)) == said
        return
    assert why


def seeds() -> Iterator[bytes]:
    """Each of them, and nesting without end."""
    members = encode_members([Member("n1", "h:1", True, "b1")])
    for question in (
        questions.Who(),
        questions.Enter(peer="h:1"),
        questions.Admit(cluster_id="c1", members=members, index=7),
    ):
        yield b"\0" + questions.encode(question)
    formed = questions.Formed(
        cluster_id="c1", node_id="n1", birth="b1", members=members, index=7, is_committed=True,
        first_members=members, first_index=1,
    )  # fmt: skip
    for answer in (
        questions.New(node_id="n1", birth="b1", initial={"n1": "h:1"}),
        formed,
        questions.Entered(cluster_id="c1", members=members, index=7),
        questions.Elsewhere(leader="h:1"),
        questions.Later(why="later"),
        questions.No(why="no"),
        questions.Welcome(),
    ):
        yield b"\1" + questions.encode(answer)
    said = Hello(
        protocol_min=1, protocol_max=1, purpose="peer", cluster_id="c1", node_id="n2", birth="b2", end=(1, 2)
    )  # fmt: skip
    yield b"\2" + hello.pack(said)
    yield b"\3" + hello.pack(Welcome(protocol=1, cluster_id="c1", node_id="n2", birth="b2"))
    yield b"\3" + hello.pack(Refusal(why="no", is_final=True))
    for reader in range(len(READERS)):
        yield bytes((reader,)) + b"\x81\xa4kind\xa3who"
        yield bytes((reader, 0xC1))
        yield bytes((reader,)) + b"\x81\xa1a" * 1_300

"""What a new data directory goes through before it has a cluster.

    alone     it is a cluster of one, at once
    initial   several new nodes with the same flags tell each other who they are; each makes the same list of it
    join      a node asks any member, until the leader has made it one; or waits until it is made one

Every node of an initial cluster arrives at the same list and the same cluster id without a leader, because a list
is made only of births that all have told within one round, and a birth is on disk before it is told. Whoever
is asked and has a cluster already tells its list; it holds the asker's own birth, or the asker's past is gone.
A crash anywhere brings the same birth back, which finds the others where they are.

Knows neither files nor sockets, and nothing of nodes that serve: they answer through ``reception``.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Protocol, TypeAlias

from raftq_cluster.backends.raft import membership
from raftq_cluster.backends.raft.commands import Member, Members, decode_members, encode_members
from raftq_cluster.backends.raft.peer_api import AskError, Identity, PeerError
from raftq_cluster.backends.raft.questions import (
    Admit,
    Answer,
    Elsewhere,
    Enter,
    Entered,
    Formed,
    Later,
    New,
    No,
    Question,
    Welcome,
    Who,
    decode_answer,
    decode_question,
    encode,
)
from raftq_cluster.backends.raft.storage.data_dir import Identity as DirectoryIdentity
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.formats import FIRST
from raftq_cluster.config import StartError

_log: Final = logging.getLogger(__name__)

ASK_TIMEOUT_S: Final = 3.0  # for one answer; a leader may have to commit before it gives it
ENTER_TIMEOUT_S: Final = 10.0
RETRY_S: Final = 0.3  # between two rounds of questions
# Nodes of a cluster are seldom started in the same second: who is missing is told after this, and
# again whenever it has doubled.
PATIENCE_S: Final = 3.0
_CLUSTER_ID_DIGITS: Final = 16


class Alone(NamedTuple):
    """A cluster of one."""


class Initial(NamedTuple):
    """A cluster of these (id -> ``HOST:PORT``); the same on all of them."""

    addresses: Mapping[str, str]


class Join(NamedTuple):
    """A member of the cluster of any of these addresses; none: wait until a leader comes."""

    addresses: tuple[str, ...]


Plan: TypeAlias = Alone | Initial | Join


class Newborn(NamedTuple):
    """A node whose directory is new. All of it is on disk already."""

    node_id: str
    birth: str
    peer: str  # HOST:PORT where others reach it, "" if they cannot
    reads: int = FIRST  # the highest format of the log


class Start(NamedTuple):
    """With what a node starts: its cluster, and the members as of entry ``first_index`` of its log."""

    cluster_id: str
    members: Members
    first_index: int


class Asking(Protocol):
    """The network, as far as it is needed here; see ``peer_api.Network``."""

    async def ask(self, address: str, question: bytes, *, timeout_s: float) -> bytes:
        """Ask the node there. Raises ``AskError``."""
        ...


Sleep: TypeAlias = Callable[[float], Awaitable[None]]


def choose_node_id(plan: Plan, given: str, peer: str, made_up: str) -> str:
    """The name of a new node: the given one; in an initial cluster, else, that of its address.

    Raises:
        StartError: an initial cluster has no node of that name or address.
    """
    if not isinstance(plan, Initial):
        return given or made_up
    names = [name for name, address in plan.addresses.items() if address == peer]
    if not given and not names:
        raise StartError(
            f"--initial-cluster has no node at {peer}, where this one is reached:"
            " give its name with --node-id, or its address with --peer-advertise"
        )
    if given and given not in plan.addresses:
        known = ", ".join(sorted(plan.addresses))
        raise StartError(
            f"--node-id: {given} is not a node of --initial-cluster, which has {known}"
        )
    return given or names[0]


def check_plan(plan: Plan, node_id: str, members: Members) -> None:
    """Compare the plan with what a directory is a member of: the directory decides, unless it is odd.

    Raises:
        StartError: the node is told to belong to others, and has a cluster of its own.
    """
    others = [member.id for member in members if member.id != node_id]
    wanted: Iterable[str] = ()
    if isinstance(plan, Initial):
        wanted = [name for name in plan.addresses if name != node_id]
    elif isinstance(plan, Join):
        wanted = plan.addresses
    if wanted and not others:
        flag = "--initial-cluster" if isinstance(plan, Initial) else "--join"
        raise StartError(
            f"{flag}: this data directory is a cluster of its own already, with node {node_id} as"
            " its only member; leave the flag out here, and start new nodes with --join to let it grow"
        )


class Formation:
    """One new node on its way. ``random_id`` makes the id of a cluster of one."""

    def __init__(
        self,
        plan: Plan,
        me: Newborn,
        network: Asking,
        random_id: Callable[[], str],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._plan = plan
        self._me = me
        self._network = network
        self._random_id = random_id
        self._sleep = sleep
        self._patience_s = PATIENCE_S
        self._waited_s = 0.0
        self._admitted: asyncio.Future[Start] = asyncio.get_running_loop().create_future()

    async def settle(self) -> Start:
        """Find or make this node's cluster; takes as long as the others take.

        Raises:
            StartError: it cannot be a member as things are.
        """
        if isinstance(self._plan, Alone):
            me = Member(self._me.node_id, self._me.peer, voter=True, birth=self._me.birth)
            return Start(self._random_id(), (me,), 0)
        if isinstance(self._plan, Initial):
            return await self._form(self._plan.addresses)
        return await self._join(self._plan.addresses)

    # --- asking others ------------------------------------------------------------------------

    async def _form(self, addresses: Mapping[str, str]) -> Start:
        while True:
            answers = await self._ask_all(addresses)
            starts = [self._start_from(answer) for answer in answers.values()
                      if isinstance(answer, Formed)]  # fmt: skip
            if starts:
                return starts[0]
            births = {self._me.node_id: self._me.birth}
            for name, answer in answers.items():
                if isinstance(answer, New):
                    self._check_new(name, addresses, answer)
                    births[name] = answer.birth
            if len(births) == len(addresses):
                return _formed(addresses, births)
            missing = [f"{name} ({address})" for name, address in sorted(addresses.items())
                       if name not in births]  # fmt: skip
            await self._wait(f"for {', '.join(missing)} to form the cluster")

    async def _ask_all(self, addresses: Mapping[str, str]) -> dict[str, Answer | None]:
        others = [name for name in sorted(addresses) if name != self._me.node_id]
        answers = await asyncio.gather(*(self._ask(addresses[name], Who()) for name in others))
        return dict(zip(others, answers, strict=True))

    async def _ask(self, address: str, question: Question) -> Answer | None:
        """The answer, None if there is none."""
        timeout_s = ENTER_TIMEOUT_S if isinstance(question, Enter) else ASK_TIMEOUT_S
        try:
            data = await self._network.ask(address, encode(question), timeout_s=timeout_s)
            return decode_answer(data)
        except (AskError, PeerError) as error:
            _log.debug("%s does not answer: %s", address, error)
            return None

    def _start_from(self, answer: Formed) -> Start:
        """Start with the first list of a cluster that has formed with this node.

        Raises:
            StartError: it has formed without it.
        """
        me, cluster = self._me, answer.cluster_id
        in_force, first = _members(answer.members), _members(answer.first_members)
        for members, index in ((first, answer.first_index), (in_force, answer.index)):
            known = membership.find(members, me.node_id)
            if known is not None and known.birth == me.birth:
                if membership.find(in_force, me.node_id) is None:
                    raise StartError(removed(me.node_id, cluster))
                return Start(cluster, members, index)
        if membership.find(in_force, me.node_id) is not None:
            raise StartError(membership.lost_past(me.node_id, cluster))
        raise StartError(
            f"--initial-cluster: cluster {cluster} has formed without node {me.node_id};"
            " start it with --join instead"
        )

    def _check_new(self, name: str, addresses: Mapping[str, str], answer: New) -> None:
        address = addresses[name]
        if answer.node_id != name:
            raise StartError(f"--initial-cluster: {address} is node {answer.node_id}, not {name}")
        if answer.initial != dict(addresses):
            theirs = ",".join(f"{key}={value}" for key, value in sorted(answer.initial.items()))
            raise StartError(
                "--initial-cluster must be the same on all nodes, and node"
                f" {name} was given {theirs or 'none'}"
            )

    async def _join(self, addresses: tuple[str, ...]) -> Start:
        if not addresses:
            _log.info("waiting to be added to a cluster: raftq cluster add %s", self._me.peer)
            return await self._admitted
        asking = asyncio.ensure_future(self._keep_asking(addresses))
        try:
            await asyncio.wait([asking, self._admitted], return_when=asyncio.FIRST_COMPLETED)
            return self._admitted.result() if self._admitted.done() else asking.result()
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError, StartError):
                await asking

    async def _keep_asking(self, addresses: tuple[str, ...]) -> Start:
        while True:
            why = ""
            for address in addresses:
                answer = await self._ask(address, Enter(peer=self._me.peer))
                if isinstance(answer, Elsewhere):
                    answer = await self._ask(answer.leader, Enter(peer=self._me.peer))
                if isinstance(answer, Entered):
                    return self._entered(answer)
                if isinstance(answer, No):
                    raise StartError(f"--join: {answer.why}")
                why = _why_later(answer) or why
            await self._wait(f"to join through {', '.join(addresses)}: {why or 'nobody answers'}")

    def _entered(self, answer: Entered | Admit) -> Start:
        members = _members(answer.members)
        known = membership.find(members, self._me.node_id)
        if known is None or known.birth != self._me.birth:
            raise StartError(
                f"--join: the member list of cluster {answer.cluster_id} is without us"
            )
        return Start(answer.cluster_id, members, answer.index)

    async def _wait(self, what: str) -> None:
        """Wait for the next round, and say now and then for what."""
        self._waited_s += RETRY_S
        if self._waited_s >= self._patience_s:
            self._patience_s *= 2
            _log.warning("waiting %s", what)
        await self._sleep(RETRY_S)

    # --- answering others ---------------------------------------------------------------------

    async def answer(self, peer: Identity, data: bytes) -> bytes:
        """Answer another node meanwhile. Raises ``PeerError``."""
        question = decode_question(data)
        if isinstance(question, Who):
            initial = dict(self._plan.addresses) if isinstance(self._plan, Initial) else {}
            return encode(
                New(
                    node_id=self._me.node_id,
                    birth=self._me.birth,
                    initial=initial,
                    reads=self._me.reads,
                )
            )
        if isinstance(question, Enter):
            return encode(Later(why=f"node {self._me.node_id} has no cluster itself yet"))
        return encode(self._take_admission(peer, question))

    def _take_admission(self, peer: Identity, admit: Admit) -> Answer:
        if not isinstance(self._plan, Join):
            return No(why=f"node {self._me.node_id} was not started with --join")
        if peer.cluster_id != admit.cluster_id:
            return No(why="only a member can admit to its cluster")
        try:
            start = self._entered(admit)
        except StartError as error:
            return No(why=error.sentence)
        if not self._admitted.done():
            self._admitted.set_result(start)
        return Welcome()


def removed(node_id: str, cluster_id: str) -> str:
    """What a node is told that is a member no longer."""
    return (
        f"node {node_id} was removed from cluster {cluster_id}; its data directory can be deleted,"
        " and a new one can join"
    )


def is_removed(answer: Answer, me: DirectoryIdentity, config_index: int) -> bool:
    """Whether a member's answer shows that this node is none any more. A committed list counts.

    It must not be older than the one in force, which may be that very list and without this node. As the log of who has
    just joined may be empty, it must be newer than the list with which this node joined.
    """
    if not isinstance(answer, Formed) or answer.cluster_id != me.cluster_id:
        return False
    known = membership.find(_members(answer.members), me.node_id)
    is_other = known is None or bool(known.birth and known.birth != me.birth)
    is_newer = answer.index >= config_index and answer.index > me.first_index
    return answer.is_committed and is_newer and is_other


def _formed(addresses: Mapping[str, str], births: Mapping[str, str]) -> Start:
    rows = [(name, address, births[name]) for name, address in addresses.items()]
    members = membership.first_members(rows)
    digest = hashlib.sha256(encode_members(members)).hexdigest()
    return Start(digest[:_CLUSTER_ID_DIGITS], members, 0)


def _members(data: bytes) -> Members:
    try:
        return decode_members(data)
    except CodecError as error:
        raise StartError(f"a node of the cluster answers with {error}") from error


def _why_later(answer: Answer | None) -> str:
    if isinstance(answer, Later):
        return answer.why
    if isinstance(answer, Elsewhere):
        return f"its leader at {answer.leader} does not answer"
    return ""

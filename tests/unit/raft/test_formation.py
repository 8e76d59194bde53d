"""How new nodes find their cluster, whatever dies on the way."""

import asyncio
from itertools import product

import pytest
from tests.support.forming_nodes import FormingWorld

from raftq_cluster.backends.raft.commands import Member, encode_members
from raftq_cluster.backends.raft.formation import (
    Alone,
    Formation,
    Initial,
    Join,
    Newborn,
    Start,
    check_plan,
    choose_node_id,
)
from raftq_cluster.backends.raft.peer_api import AskError, Identity, PeerError
from raftq_cluster.backends.raft.questions import (
    Admit,
    Answer,
    Elsewhere,
    Enter,
    Entered,
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
from raftq_cluster.config import StartError

pytestmark = pytest.mark.asyncio

THREE = {"n1": "h1:1", "n2": "h2:1", "n3": "h3:1"}
ME = Newborn("n4", "4" * 16, "h4:1")
JOINED = (
    Member("n1", "h1:1", voter=True, birth="1" * 16),
    Member("n4", "h4:1", voter=False, birth="4" * 16, is_joining=True),
)
ENTERED = Entered(cluster_id="c", members=encode_members(JOINED), index=7)


# --- an initial cluster -----------------------------------------------------------------------------


async def test_all_nodes_arrive_at_the_same_list_and_the_same_cluster() -> None:
    world = FormingWorld(THREE)
    starts = await world.run()
    assert len(set(starts.values())) == 1
    start = starts["n1"]
    assert len(start.cluster_id) == 16
    assert start.first_index == 0
    assert start.members == tuple(
        Member(name, address, voter=True, birth=world.directories[name].birth)
        for name, address in THREE.items()
    )


async def test_a_cluster_of_other_births_is_another_cluster() -> None:
    first = await FormingWorld(THREE).run()
    second = await FormingWorld(THREE, births=7).run()
    assert first["n1"].cluster_id != second["n1"].cluster_id


async def test_a_cluster_of_one_needs_nobody() -> None:
    starts = await FormingWorld({"n1": "h1:1"}).run()
    assert [member.id for member in starts["n1"].members] == ["n1"]


async def test_nobody_forms_while_one_is_missing() -> None:
    world = FormingWorld(THREE)
    waiting = asyncio.gather(world.live("n1"), world.live("n2"))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert all(directory.start is None for directory in world.directories.values())
    await world.live("n3")
    await waiting
    assert len({world.started(name) for name in THREE}) == 1


@pytest.mark.parametrize("name", THREE)
async def test_a_node_that_dies_at_any_step_comes_back_into_the_same_cluster(name: str) -> None:
    for step in range(1, 14):
        starts = await FormingWorld(THREE, crash_at={name: {step}}).run()
        assert len(set(starts.values())) == 1, step


async def test_any_two_nodes_may_die_at_any_steps() -> None:
    for first, second, again in product(range(1, 9), range(1, 9), (1, 2)):
        crashes = {"n1": {first, first + again}, "n3": {second}}
        starts = await FormingWorld(THREE, crash_at=crashes).run()
        assert len(set(starts.values())) == 1, (first, second)


async def test_a_node_that_lost_its_disk_does_not_come_back_under_its_name() -> None:
    world = FormingWorld(THREE)
    await world.run()
    del world.directories["n2"]
    with pytest.raises(StartError, match="its data was lost or replaced"):
        await world.process("n2")


async def test_two_disks_lost_make_no_new_cluster_without_the_third_node() -> None:
    world = FormingWorld(THREE)
    await world.run()
    for name in ("n2", "n3"):
        del world.directories[name], world.alive[name]
    world.down.add("n1")
    waiting = asyncio.gather(world.live("n2"), world.live("n3"))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not waiting.done()
    world.down.clear()
    with pytest.raises(StartError, match="its data was lost or replaced"):
        await waiting


async def test_a_cluster_that_formed_without_this_node_is_told() -> None:
    world = FormingWorld({"n1": "h1:1", "n2": "h2:1"})
    await world.run()
    world.addresses = THREE
    with pytest.raises(StartError, match="has formed without node n3; start it with --join"):
        await world.process("n3")


async def test_flags_that_differ_are_named() -> None:
    world = FormingWorld(THREE, plans={"n2": Initial({"n1": "h1:1", "n2": "h2:1"})})
    said = await _outcome(world, "n1", "n2")
    assert "must be the same on all nodes, and node n" in said


async def _outcome(world: FormingWorld, *names: str) -> str:
    lives = [asyncio.ensure_future(world.live(name)) for name in names]
    done, pending = await asyncio.wait(lives, return_when=asyncio.FIRST_EXCEPTION)
    for life in pending:
        life.cancel()
    return " / ".join(str(life.exception()) for life in done)


async def test_an_address_of_another_node_is_named() -> None:
    world = FormingWorld(THREE, plans={"n1": Initial({**THREE, "n2": "h3:1", "n3": "h2:1"})})
    said = await _outcome(world, "n1", "n2", "n3")
    assert "--initial-cluster: h3:1 is node n3, not n2" in said


async def test_a_node_that_joins_is_no_node_of_an_initial_cluster() -> None:
    world = FormingWorld(THREE, plans={"n2": Join(())})
    said = await _outcome(world, "n1", "n2")
    assert "must be the same on all nodes, and node n2 was given none" in said


@pytest.mark.parametrize(
    ("plan", "given", "peer", "chosen"),
    [
        (Alone(), "", "h1:1", "made-up"),
        (Alone(), "me", "h1:1", "me"),
        (Join(("h9:1",)), "", "h1:1", "made-up"),
        (Initial(THREE), "n2", "elsewhere:1", "n2"),
        (Initial(THREE), "", "h3:1", "n3"),
    ],
)
async def test_a_new_node_is_named_by_its_flag_or_its_address(
    plan: Alone | Initial | Join, given: str, peer: str, chosen: str
) -> None:
    assert choose_node_id(plan, given, peer, "made-up") == chosen


async def test_a_node_that_is_not_in_the_list_says_so() -> None:
    with pytest.raises(StartError, match="n9 is not a node of --initial-cluster, which has n1, n2"):
        choose_node_id(Initial(THREE), "n9", "h1:1", "made-up")
    with pytest.raises(StartError, match="has no node at h9:1, where this one is reached"):
        choose_node_id(Initial(THREE), "", "h9:1", "made-up")


@pytest.mark.parametrize("plan", [Initial(THREE), Join(("h2:1",))])
async def test_a_node_with_a_cluster_of_its_own_enters_no_other(plan: Initial | Join) -> None:
    alone = (Member("n1", "h1:1", voter=True),)
    with pytest.raises(StartError, match="is a cluster of its own already, with node n1"):
        check_plan(plan, "n1", alone)
    check_plan(plan, "n1", (*alone, Member("n2", "h2:1", voter=True)))
    check_plan(Alone(), "n1", alone)


# --- joining ------------------------------------------------------------------------------------------


class Members:
    """Answers at addresses, one after the other; the last one again and again."""

    def __init__(self, **answers: list[Answer | None]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Question]] = []

    async def ask(self, address: str, question: bytes, *, timeout_s: float) -> bytes:
        del timeout_s
        self.asked.append((address, decode_question(question)))
        host = self.answers[address.partition(":")[0]]
        answer = host.pop(0) if len(host) > 1 else host[0]
        await asyncio.sleep(0)
        if answer is None:
            raise AskError("nobody is there")
        return encode(answer)


def newcomer(network: Members, *addresses: str) -> Formation:
    return Formation(
        Join(addresses), ME, network, lambda: "made-up", sleep=lambda _s: asyncio.sleep(0)
    )


async def test_a_newcomer_asks_the_leader_and_starts_with_its_list() -> None:
    network = Members(h1=[ENTERED])
    assert await newcomer(network, "h1:1").settle() == Start("c", JOINED, 7)
    assert network.asked == [("h1:1", Enter(peer="h4:1"))]


async def test_a_newcomer_is_sent_on_to_the_leader() -> None:
    network = Members(h2=[Elsewhere(leader="h1:1")], h1=[ENTERED])
    assert (await newcomer(network, "h2:1").settle()).cluster_id == "c"
    assert [address for address, _ in network.asked] == ["h2:1", "h1:1"]


async def test_a_newcomer_keeps_asking_until_somebody_can_let_it_in() -> None:
    later = Later(why="no leader is known")
    network = Members(h1=[None, later, Elsewhere(leader="h2:1"), ENTERED], h2=[None, later])
    assert (await newcomer(network, "h1:1", "h2:1").settle()).cluster_id == "c"


async def test_a_newcomer_that_is_refused_says_why() -> None:
    network = Members(h1=[No(why="node n4 is a member with another data directory")])
    with pytest.raises(StartError, match="--join: node n4 is a member with another data"):
        await newcomer(network, "h1:1").settle()


async def test_a_list_without_the_newcomer_is_not_believed() -> None:
    other = JOINED[1]._replace(birth="f" * 16)
    wrong = Entered(cluster_id="c", members=encode_members((JOINED[0], other)), index=7)
    with pytest.raises(StartError, match="is without us"):
        await newcomer(Members(h1=[wrong]), "h1:1").settle()


LEADER = Identity("c", "n1", "1" * 16)
ADMIT = Admit(cluster_id="c", members=encode_members(JOINED), index=7)


async def answered(formation: Formation, question: Question, asker: Identity = LEADER) -> Answer:
    return decode_answer(await formation.answer(asker, encode(question)))


async def test_a_node_that_waits_starts_when_a_leader_admits_it_even_twice() -> None:
    formation = newcomer(Members())
    settling = asyncio.ensure_future(formation.settle())
    await asyncio.sleep(0)
    assert await answered(formation, ADMIT) == Welcome()
    assert await answered(formation, ADMIT) == Welcome()
    assert await settling == Start("c", JOINED, 7)


async def test_a_node_that_asks_can_be_admitted_as_well() -> None:
    formation = newcomer(Members(h1=[None]), "h1:1")
    settling = asyncio.ensure_future(formation.settle())
    await asyncio.sleep(0)
    assert await answered(formation, ADMIT) == Welcome()
    assert await settling == Start("c", JOINED, 7)


async def test_only_a_member_admits_and_only_who_is_in_its_list() -> None:
    formation = newcomer(Members())
    stranger = Identity("", "n1", "1" * 16)
    assert isinstance(await answered(formation, ADMIT, stranger), No)
    without = Admit(cluster_id="c", members=encode_members(JOINED[:1]), index=7)
    assert isinstance(await answered(formation, without), No)


async def test_a_node_of_an_initial_cluster_is_not_admitted_elsewhere() -> None:
    formation = Formation(Initial(THREE), ME, Members(), lambda: "x")
    assert isinstance(await answered(formation, ADMIT), No)


async def test_a_new_node_says_who_it_is_and_lets_nobody_in() -> None:
    formation = newcomer(Members())
    assert await answered(formation, Who()) == New(node_id="n4", birth="4" * 16, initial={})
    assert isinstance(await answered(formation, Enter(peer="h5:1")), Later)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x80", encode(Who())[:-1], encode(Who(v=2)), encode(Welcome()), b"\x01" * 99],
)
async def test_what_is_no_question_closes_the_connection(data: bytes) -> None:
    with pytest.raises(PeerError):
        await newcomer(Members()).answer(LEADER, data)


async def test_a_standalone_node_is_a_cluster_of_its_own_at_once() -> None:
    start = await Formation(Alone(), ME, Members(), lambda: "made-up").settle()
    me = Member("n4", "h4:1", voter=True, birth="4" * 16)
    assert start == Start("made-up", (me,), 0)

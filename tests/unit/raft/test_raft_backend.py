"""The Raft backend of one node, on a disk in memory."""

import asyncio
import errno

import pytest
import pytest_asyncio
from tests.support.raft_node import DIRECTORY, EPOCH_MS, Hands, RaftNode
from tests.support.raft_operations import Told, drop, put, take
from tests.support.virtual_disk import Fault, Loss, VirtualDisk

from raftq_cluster.backends.api import BackendError
from raftq_cluster.backends.raft import core_pysyncobj
from raftq_cluster.config import StartError
from raftq_cluster.core.operations import FORGET, Forget, Tick
from raftq_cluster.core.outcomes import Claimed, Done, Modified, Refused
from raftq_cluster.core.queries import Digest, Queues, Tasks, Time

pytestmark = pytest.mark.asyncio

ALL_TASKS = Tasks("/q", "", (), 10_000, False)


@pytest_asyncio.fixture
async def node():
    node = await RaftNode(VirtualDisk()).start()
    yield node
    await node.backend.stop()


async def ids(node):
    answer = await node.backend.read(ALL_TASKS)
    return {row.id for row in answer.value}


# --- start and status -----------------------------------------------------------------------------


async def test_a_new_node_leads_a_cluster_of_one(node):
    status = node.backend.status()
    assert (status.backend, status.node, status.leader, status.ready) == ("raft", "n1", "n1", True)
    assert [(member.id, member.role) for member in status.members] == [("n1", "leader")]
    assert len(status.cluster_id) == 16


async def test_a_node_without_a_name_keeps_the_one_that_was_made_up():
    node = await RaftNode(VirtualDisk(), node_id="").start()
    first = node.backend.status()
    node = await node.restarted(node_id="", seed=2)
    second = node.backend.status()
    assert first.node.startswith("n")
    assert len(first.node) == 9
    assert (second.node, second.cluster_id) == (first.node, first.cluster_id)
    await node.backend.stop()


async def test_another_name_than_the_directorys_is_refused(node):
    await node.backend.stop()
    with pytest.raises(StartError, match="belongs to node n1 of cluster"):
        await node.reborn(node_id="n2").start()


async def test_a_directory_that_is_in_use_is_refused(node):
    with pytest.raises(StartError, match="in use by another node"):
        await node.reborn().start()


async def test_an_altered_raft_library_is_refused(monkeypatch):
    library = core_pysyncobj.installed_library()._replace(version="0.3.18")
    monkeypatch.setattr(core_pysyncobj, "installed_library", lambda: library)
    with pytest.raises(StartError, match="pip install"):
        await RaftNode(VirtualDisk()).start()


async def test_before_the_start_nothing_is_answered():
    backend = RaftNode(VirtualDisk()).backend
    told = Told()
    backend.submit([put("a")], told)
    assert told.outcomes[0].code == "unavailable"
    with pytest.raises(BackendError, match="does not run"):
        await backend.read(Digest())
    assert (backend.next_due_ms(), backend.load().tasks, backend.status().ready) == (None, 0, False)
    assert backend.now_ms() == EPOCH_MS
    await backend.stop()


# --- operations -----------------------------------------------------------------------------------


async def test_operations_are_answered_in_order_with_the_index_of_their_entry(node):
    told = await node.do(put("a"), take(), take())
    modified, claimed, empty = told.outcomes
    assert isinstance(modified, Modified)
    assert claimed.tasks[0].id == "a"
    assert empty == Claimed(())
    assert told.index == node.backend.status().index


async def test_a_pipelined_claim_sees_what_was_inserted_before_it(node):
    submitted = [node.submit(put("a")), node.submit(take()), node.submit(take())]
    await node.until(lambda: all(told.calls for told in submitted))
    assert [len(told.outcomes[0].tasks) for told in submitted[1:]] == [1, 0]


async def test_claims_that_certainly_find_nothing_are_answered_at_once_and_not_logged(node):
    before = node.backend.status().index
    told = node.submit(take(), take("/other"))
    assert told.outcomes == [Claimed(()), Claimed(())]
    assert (told.index, node.backend.status().index) == (before, before)


async def test_a_claim_for_a_paused_future_is_logged_as_soon_as_the_task_is_due(node):
    await node.do(put("later", at_ms=EPOCH_MS + 1_000))
    assert node.submit(take()).outcomes == [Claimed(())]
    node.hands.pass_ms(1_000)
    told = await node.do(take())
    assert told.outcomes[0].tasks[0].id == "later"


async def test_a_claim_whose_key_is_known_gets_its_first_answer_again(node):
    await node.do(put("a"))
    first = await node.do(take(key="k"))
    again = await node.do(take(key="k"))
    assert again.outcomes == first.outcomes
    assert node.submit(take(key="new")).outcomes == [Claimed(())]


async def test_an_empty_claim_after_something_unfinished_is_logged_behind_it(node):
    inserted = node.submit(put("a", "/elsewhere"))
    claimed = node.submit(take())
    assert claimed.calls == []
    await node.until(lambda: bool(claimed.calls))
    assert claimed.index == inserted.index


async def test_a_submission_of_nothing_is_answered_at_once(node):
    assert node.submit().outcomes == []


async def test_a_sink_may_submit_again(node):
    told = Told()
    node.backend.submit([put("a")], lambda _index, _outcomes: node.backend.submit([take()], told))
    await node.until(lambda: bool(told.calls))
    assert told.outcomes[0].tasks[0].id == "a"


async def test_an_operation_that_cannot_be_stored_harms_nobody(node):
    told = await node.do(put("a"), Forget(FORGET, (object(),)), put("b"))
    assert [type(outcome).__name__ for outcome in told.outcomes] == [
        "Modified",
        "Refused",
        "Modified",
    ]
    assert await ids(node) == {"a", "b"}


async def test_the_listener_hears_of_claimable_tasks():
    heard = []
    node = RaftNode(VirtualDisk())
    node.backend.on_ready(heard.append)
    await node.start()
    await node.do(put("a"), put("b"))
    assert heard == [{"/q": 2}]
    other = []
    node.backend.on_ready(other.append)
    await node.do(put("c"))
    assert (len(heard), other) == (1, [{"/q": 1}])
    await node.backend.stop()


async def test_load_counts_what_is_held(node):
    await node.do(put("a", value=b"12345"), put("b"))
    assert node.backend.load()[:2] == (2, 5)


# --- reads ----------------------------------------------------------------------------------------


async def test_a_read_sees_every_operation_that_was_answered_before_it(node):
    for number in range(5):
        told = await node.do(put(str(number)))
        answer = await node.backend.read(ALL_TASKS)
        assert (answer.index, len(answer.value)) == (told.index, number + 1)


async def test_a_read_lets_due_tasks_arrive_first(node):
    await node.do(put("later", at_ms=EPOCH_MS + 1_000))
    assert node.backend.next_due_ms() <= EPOCH_MS + 1_000
    node.hands.pass_ms(1_500)
    ((stats,),) = [(await node.backend.read(Queues((), (), 10))).value]
    assert (stats.ready, stats.delayed) == (1, 0)


async def test_a_stale_read_logs_nothing(node):
    told = await node.do(put("later", at_ms=EPOCH_MS + 1_000))
    node.hands.pass_ms(1_500)
    answer = await node.backend.read(Queues((), (), 10), stale=True)
    assert (answer.index, answer.value[0].delayed) == (told.index, 1)


async def test_a_read_on_a_full_disk_that_needs_an_entry_is_refused(node):
    await node.do(put("later", at_ms=EPOCH_MS + 1_000))
    fill(node.disk)
    await fill_segment(node)
    node.hands.pass_ms(1_500)
    with pytest.raises(BackendError, match="no entry could be logged"):
        await node.backend.read(Queues((), (), 10))


async def test_time_is_the_logs(node):
    node.hands.pass_ms(250)
    assert (await node.backend.read(Time())).value == EPOCH_MS + 250


# --- stop -----------------------------------------------------------------------------------------


async def test_stopping_finishes_what_was_submitted():
    node = await RaftNode(VirtualDisk()).start()
    told = [node.submit(put(str(number))) for number in range(2_000)]
    await node.backend.stop()
    assert all(isinstance(one.outcomes[0], Modified) for one in told)


async def test_a_stopped_node_refuses_and_stopping_again_does_nothing(node):
    await node.do(put("a"))
    await node.backend.stop()
    await node.backend.stop()
    assert node.submit(put("b")).outcomes[0].code == "unavailable"
    assert not node.backend.status().ready
    with pytest.raises(BackendError):
        await node.backend.read(ALL_TASKS)


async def test_the_directory_is_free_after_a_stop(node):
    after = await node.restarted()
    await after.backend.stop()


# --- restart --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["restarted", "killed"])
async def test_a_restart_keeps_everything(way):
    node = await RaftNode(VirtualDisk()).start()
    for number in range(30):
        await node.do(put(f"t{number}", value=b"v" * number), take(), take(key=f"k{number}"))
    await node.do(drop("t0", 1))
    before = await node.digest()
    after = await getattr(node, way)()
    assert await after.digest() == before
    await after.backend.stop()


@pytest.mark.parametrize("loss", list(Loss))
async def test_a_power_cut_keeps_everything_that_was_answered(loss):
    node = await RaftNode(VirtualDisk(seed=3)).start()
    told = [await node.do(put(f"t{number}")) for number in range(20)]
    node.submit(put("unanswered"))
    await asyncio.sleep(0)
    node = await node.after_power_cut(loss)
    assert len(told) == 20
    assert {f"t{number}" for number in range(20)} <= await ids(node)
    await node.backend.stop()


async def test_log_time_never_goes_back_over_a_restart_with_an_earlier_clock():
    node = await RaftNode(VirtualDisk()).start()
    (claim,) = (await node.do(put("a"), take(lease_ms=30_000))).outcomes[1:]
    after = await node.restarted(hands=Hands(EPOCH_MS - 3_600_000))
    assert after.backend.now_ms() >= EPOCH_MS
    assert after.submit(take()).outcomes == [Claimed(())]
    after.hands.pass_ms(31_000)  # the slow clock of the restarted node still ends the lease
    again = await after.do(take())
    assert again.outcomes[0].tasks[0].id == "a"
    assert again.outcomes[0].tasks[0].version == claim.tasks[0].version + 1
    await after.backend.stop()


async def test_a_lease_is_not_cut_short_by_a_clock_that_jumps_ahead(node):
    await node.do(put("a"), take(lease_ms=30_000))
    node.hands.wall_ms += 3_600_000
    node.hands.pass_ms(29_000)
    assert node.submit(take()).outcomes == [Claimed(())]


# --- snapshots ------------------------------------------------------------------------------------


def snapshots(node):
    return [path for path in node.disk.paths() if path.suffix == ".snap"]


async def test_a_snapshot_and_the_log_behind_it_give_the_same_state_as_the_whole_log():
    small = await RaftNode(VirtualDisk(), snapshot_bytes_min=50_000).start()
    large = await RaftNode(VirtualDisk(), snapshot_bytes_min=1 << 30).start()
    digests = []
    for node in (small, large):
        for number in range(300):
            await node.do(put(f"t{number}", value=bytes(number)), take(), drop(f"t{number - 9}"))
        after = await node.killed()
        digests.append(await after.digest())
        await after.backend.stop()
    assert digests[0] == digests[1]
    assert len(snapshots(small)) == 1
    assert (snapshots(small))[0].name > (snapshots(large))[0].name


async def test_operations_are_answered_while_a_snapshot_is_being_taken():
    node = await RaftNode(VirtualDisk(), snapshot_bytes_min=400_000).start()
    await node.do(*[put(f"t{number}", value=bytes(10)) for number in range(5_000)])
    answered = 0
    while not any(path.suffix == ".new" for path in node.disk.paths()):
        await node.do(put(f"x{answered}", value=bytes(1_000)))
        answered += 1
    during = 0
    while any(path.suffix == ".new" for path in node.disk.paths()):
        await node.do(put(f"y{during}"))
        during += 1
    assert during > 3
    before = await node.digest()
    after = await node.killed()
    assert await after.digest() == before
    await after.backend.stop()


async def test_stopping_gives_up_a_snapshot_that_is_being_taken():
    node = await RaftNode(VirtualDisk(), snapshot_bytes_min=400_000).start()
    await node.do(*[put(f"t{number}", value=bytes(10)) for number in range(5_000)])
    while not any(path.suffix == ".new" for path in node.disk.paths()):
        await node.do(put(f"x{node.backend.load().tasks}", value=bytes(1_000)))
    before, names = await node.digest(), snapshots(node)
    await node.backend.stop()
    assert snapshots(node) == names
    after = await node.reborn().start()
    assert await after.digest() == before
    await after.backend.stop()


# --- what is broken stops the node ----------------------------------------------------------------


def damage(node, suffix, offset=200):
    (path, *_) = [path for path in node.disk.paths() if path.suffix == suffix]
    node.disk.flip(path, 8 * offset)
    return path


async def test_a_damaged_log_stops_the_start():
    node = await RaftNode(VirtualDisk()).start()
    for number in range(5):
        await node.do(put(f"t{number}", value=bytes(100)))
    await node.backend.stop()
    path = damage(node, ".log")
    with pytest.raises(StartError, match=f"{path.name}.*corrupt"):
        await node.reborn().start()


async def test_a_damaged_or_empty_snapshot_stops_the_start():
    for harm in (lambda n: damage(n, ".snap", 80), lambda n: empty(n, ".snap")):
        node = await RaftNode(VirtualDisk()).start()
        await node.do(put("a"))
        await node.backend.stop()
        harm(node)
        with pytest.raises(StartError, match="corrupt"):
            await node.reborn().start()


def empty(node, suffix):
    (path, *_) = [path for path in node.disk.paths() if path.suffix == suffix]
    node.disk.replace(path, b"")


async def test_a_lost_vote_file_stops_the_start(node):
    await node.backend.stop()
    node.disk.remove(DIRECTORY / "votes")
    with pytest.raises(StartError, match="votes"):
        await node.reborn().start()


async def test_a_log_without_its_snapshot_stops_the_start(node):
    await node.do(put("a"))
    await node.backend.stop()
    (path,) = snapshots(node)
    node.disk.remove(path)
    with pytest.raises(StartError, match="the snapshot before it is gone"):
        await node.reborn().start()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [("sync_data", "syncing failed: Input/output"), ("write", "writing failed: Input/output")],
)
async def test_a_failing_disk_stops_the_node_and_says_why(node, call, sentence):
    await node.do(put("a"))
    node.disk.faults.append(Fault(call, errno.EIO, name=".log"))
    told = await node.do(put("b"))
    assert told.outcomes[0].code == "outcome_unknown"
    assert len(node.fatal) == 1
    assert sentence in node.fatal[0]
    assert node.submit(put("c")).outcomes[0].code == "unavailable"


# --- a full disk ----------------------------------------------------------------------------------


def fill(disk):
    disk.capacity_bytes = disk.used_bytes()


async def fill_segment(node):
    """Log until there is no room for anything; gives the first refusal and what was inserted."""
    inserted, refused = 0, []
    for operation in (put("fill", value=bytes(1_000)), put("fill"), Tick()):
        outcome = Done()
        while not isinstance(outcome, Refused) or outcome.code == "dependency":
            (outcome,) = (await node.do(operation)).outcomes
            inserted += 1
        refused.append(outcome)
    return refused[0], inserted


async def test_the_load_tells_the_free_space_from_the_start():
    disk = VirtualDisk()
    disk.room_bytes = 12_345
    node = await RaftNode(disk).start()
    assert node.backend.load().disk_free_bytes == 12_345
    await node.backend.stop()


async def test_a_full_disk_refuses_and_the_node_goes_on_when_there_is_space():
    node = await RaftNode(VirtualDisk()).start()
    fill(node.disk)
    refused, number = await fill_segment(node)
    assert refused.code == "store_full"
    assert "reserving" in refused.detail
    assert number > 10
    assert node.fatal == []
    assert node.backend.status().ready
    node.disk.capacity_bytes = None
    assert isinstance((await node.do(put("a"))).outcomes[0], Modified)
    before = await node.digest()
    after = await node.killed()
    assert await after.digest() == before
    await after.backend.stop()


async def test_a_snapshot_that_finds_the_disk_full_harms_nothing(caplog):
    node = await RaftNode(VirtualDisk(), snapshot_bytes_min=10_000, segment_bytes=1 << 20).start()
    fill(node.disk)
    for number in range(100):
        assert isinstance(
            (await node.do(put(f"t{number}", value=bytes(1_000)))).outcomes[0], Modified
        )
    assert "no space for a snapshot" in caplog.text
    before = await node.digest()
    node.disk.capacity_bytes = None
    after = await node.killed()
    assert await after.digest() == before
    await after.backend.stop()

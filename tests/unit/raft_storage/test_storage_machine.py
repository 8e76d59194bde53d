"""A store against a list and a pair of variables, with syncs under way, crashes and a full disk."""

import errno
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.storage_witness import Witness, open_store
from tests.support.virtual_disk import Fault, Loss, VirtualDisk

from raftq_cluster.backends.raft.storage.errors import StorageFullError
from raftq_cluster.backends.raft.storage.syncer import SyncPlan

DATA = st.binary(max_size=8).flatmap(
    lambda part: st.sampled_from([1, 50, 200]).map(lambda times: part * times)
)


class StoreMachine(RuleBasedStateMachine):
    """Lawful use only: what is in a snapshot is not truncated, terms grow with each truncation."""

    @initialize(seed=st.integers(0, 1000))
    def start(self, seed: int) -> None:
        self.disk = VirtualDisk(seed)
        self.term = 1
        self.settled = 0
        self.begin_life()

    def begin_life(self) -> None:
        self.store = open_store(self.disk)
        self.journal = self.store.journal
        self.witness = Witness(self.store)
        self.plan: SyncPlan | None = None
        self.numbers = [0] * len(self.journal)  # of the entries behind the base
        self.base = self.journal.base_index

    def note(self, entries: int) -> None:
        """The log has so many entries behind ``base`` now; new ones carry the last number."""
        del self.numbers[entries:]
        self.numbers += [self.store.last_number] * (entries - len(self.numbers))

    # --- changes ---------------------------------------------------------------------------------

    @rule(data=DATA)
    def append(self, data: bytes) -> None:
        self.witness.append(self.term, data)
        self.note(len(self.numbers) + 1)

    @rule(data=DATA)
    def append_on_a_full_disk(self, data: bytes) -> None:
        self.disk.capacity_bytes = self.disk.used_bytes()
        before = self.store.last_number
        try:
            self.append(data)
        except StorageFullError:
            assert self.store.last_number == before
        self.disk.capacity_bytes = None

    @precondition(lambda self: self.journal.last_index > self.settled)
    @rule(choice=st.data())
    def truncate(self, choice: Any) -> None:
        index = choice.draw(st.integers(self.settled + 1, self.journal.last_index))
        self.witness.truncate_from(index)
        self.term += 1
        self.note(index - 1 - self.base)

    @rule(voted_for=st.sampled_from([None, "", "n1", "n2"]), grows=st.booleans())
    def vote(self, voted_for: str | None, grows: bool) -> None:
        self.term += grows
        self.witness.vote(max(self.term, self.store.votes.term), voted_for)

    @precondition(lambda self: self.journal.last_index > self.settled)
    @rule(choice=st.data(), data=DATA)
    def compact(self, choice: Any, data: bytes) -> None:
        """The snapshot is on disk, whether its entries are or not: others may have made them committed."""
        index = choice.draw(st.integers(self.settled + 1, self.journal.last_index))
        self.witness.snapshot(index, self.journal.term_at(index), (data or b"-", b"end"))
        self.settled = index
        self.witness.drop_before(index + 1)
        del self.numbers[: index - self.base]
        self.base = index

    @rule(ahead=st.integers(1, 5))
    def install(self, ahead: int) -> None:
        self.term += 1
        self.settled = self.base = self.journal.last_index + ahead
        self.witness.install(self.settled, self.term, (b"installed",))
        self.numbers.clear()

    @rule()
    def mark(self) -> None:
        self.journal.mark()

    @rule()
    def collect(self) -> None:
        job = self.journal.collect()
        if job:
            job()

    # --- syncs -----------------------------------------------------------------------------------

    @rule()
    def flush(self) -> None:
        self.journal.flush()

    @precondition(lambda self: self.plan is None)
    @rule(is_full=st.booleans())
    def begin_sync(self, is_full: bool) -> None:
        if is_full:
            self.disk.faults.append(Fault("write", errno.ENOSPC))
        try:
            self.plan = self.store.begin_sync()
        except StorageFullError:
            self.journal.flush()
        self.disk.faults.clear()

    @precondition(lambda self: self.plan is not None)
    @rule()
    def end_sync(self) -> None:
        assert self.plan is not None
        self.plan.run()
        self.store.end_sync(self.plan)
        self.witness.durable = self.plan.number
        self.plan = None

    # --- ends ------------------------------------------------------------------------------------

    @rule(loss=st.sampled_from(list(Loss)))
    def cut_power(self, loss: Loss) -> None:
        self.end_life(loss)

    @rule()
    def kill(self) -> None:
        self.end_life(None)

    @precondition(lambda self: self.plan is not None)
    @rule(loss=st.sampled_from(list(Loss)))
    def cut_power_behind_a_sync(self, loss: Loss) -> None:
        assert self.plan is not None
        self.plan.run()
        self.end_life(loss)

    def end_life(self, loss: Loss | None) -> None:
        if loss is None:
            self.disk.kill()
        else:
            self.disk.cut_power(loss)
        witness = self.witness
        self.begin_life()
        witness.check(self.store)

    # --- always ----------------------------------------------------------------------------------

    @invariant()
    def the_log_is_the_list(self) -> None:
        past = self.witness.past
        skipped = self.journal.base_index - past.base[0]
        entries = self.journal.entries(self.journal.first_index, self.journal.last_index + 1)
        assert tuple(entries) == past.entries[skipped:]
        assert self.journal.base_term == past.term_at(self.journal.base_index)
        assert self.journal.data_bytes == sum(len(data) for _, data in entries)

    @invariant()
    def exactly_what_a_sync_has_covered_is_durable(self) -> None:
        covered = [number <= self.witness.durable for number in self.numbers]
        assert self.journal.durable_index == self.base + (
            covered.index(False) if False in covered else len(covered)
        )

    @invariant()
    def one_file_or_few_are_open(self) -> None:
        assert len(self.disk.opened) <= 2 + len(self.disk.names(self.disk.paths()[0].parent))


TestStore = StoreMachine.TestCase

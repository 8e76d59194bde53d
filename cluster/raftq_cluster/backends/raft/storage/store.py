"""Everything durable of one node behind one sync: votes, log and snapshots, checked against each other.

The only place that knows all three, and the rules between them: a vote file that is missing beside a
log (or the reverse) is a lost past; a log continues its snapshot or is reset to it; the vote file is
synced before the log.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

from raftq_cluster.backends.raft.storage import votes as vote_files
from raftq_cluster.backends.raft.storage.errors import (
    CorruptError,
    StorageFailedError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.files import Files
from raftq_cluster.backends.raft.storage.journal import Journal
from raftq_cluster.backends.raft.storage.numbers import WriteNumbers
from raftq_cluster.backends.raft.storage.segments import SEGMENT_BYTES, Place
from raftq_cluster.backends.raft.storage.snapshots import SnapshotStore
from raftq_cluster.backends.raft.storage.syncer import SyncPlan
from raftq_cluster.backends.raft.storage.votes import VoteFile

JOURNAL_DIRECTORY: Final = "journal"
SNAPSHOT_DIRECTORY: Final = "snapshots"


class Store:
    """A node's votes, journal and snapshots. Made by ``open``; one thread owns it.

    Between ``begin_sync`` and ``end_sync`` the plan may be carried out in another thread while the
    owner goes on changing things; ``Syncer`` sees to it. Acting on a write (sending an acknowledgement
    or a vote, counting oneself) waits until ``durable_number`` has reached ``last_number`` as it was then.
    """

    def __init__(
        self,
        files: Files,
        numbers: WriteNumbers,
        votes: VoteFile,
        journal: Journal,
        snapshots: SnapshotStore,
    ) -> None:
        self._files = files
        self._numbers = numbers
        self.votes = votes
        self.journal = journal
        self.snapshots = snapshots

    @classmethod
    def open(
        cls, files: Files, directory: Path, identity: bytes, *, segment_bytes: int = SEGMENT_BYTES
    ) -> "Store":
        """Read back what the directory holds, or start afresh. All of it is durable on return.

        Raises:
            CorruptError: bytes that were on disk are damaged or gone; the node must not start.
            ForeignError: a file was written by a newer version.
            StorageFullError: there is no space to start afresh.
            StorageFailedError: the disk has failed.
        """
        for name in (JOURNAL_DIRECTORY, SNAPSHOT_DIRECTORY):
            files.make_directory(directory / name)
        numbers = WriteNumbers()
        votes = _open_votes(files, directory, identity, numbers)
        journal = Journal.open(
            Place(files, directory / JOURNAL_DIRECTORY, identity),
            numbers,
            may_start=votes.term == 0,
            segment_bytes=segment_bytes,
        )
        snapshots = SnapshotStore(files, directory / SNAPSHOT_DIRECTORY)
        store = cls(files, numbers, votes, journal, snapshots)
        store._reconcile(directory)
        return store

    def _reconcile(self, directory: Path) -> None:
        """Let the log continue the newest snapshot. Source: restart rule, ``DESIGN.md``."""
        journal, (index, term) = self.journal, (0, 0)
        if reader := self.snapshots.latest():
            index, term = reader.info.index, reader.info.term
            reader.close()
        if journal.base_index > index:
            reason = (
                f"the log starts behind {journal.base_index}, the newest snapshot ends at {index}"
            )
            raise CorruptError(directory, 0, reason)
        if index > journal.last_index or journal.term_at(index) != term:
            journal.reset_to(index, term)
            self._sync()
        self.snapshots.prune()

    @property
    def last_number(self) -> int:
        """Number of the last write of log or vote."""
        return self._numbers.last

    @property
    def durable_number(self) -> int:
        """All writes up to this number are on disk."""
        return self._numbers.durable

    @property
    def dirty(self) -> bool:
        """Whether there is anything that no completed sync covers."""
        return self._numbers.last > self._numbers.durable or self.journal.dirty

    def begin_sync(self) -> SyncPlan:
        """Write everything out and tell what to sync, the vote file first. One sync at a time.

        Raises:
            StorageFullError: there is no space; nothing is lost, the next call tries again.
            StorageFailedError: the disk has failed.
        """
        vote_file = self.votes.begin_sync()
        files, directories = self.journal.begin_sync()
        if vote_file is not None:
            files = (vote_file, *files)
        return SyncPlan(
            layer=self._files, number=self._numbers.last, files=files, directories=directories
        )

    def end_sync(self, plan: SyncPlan) -> None:
        """The plan has been carried out."""
        self.votes.end_sync()
        self.journal.end_sync(plan.number)
        self._numbers.durable = plan.number

    def fail(self, error: StorageFailedError) -> None:
        """The plan could not be carried out: refuse every change from now on."""
        self.journal.fail(error)

    def close(self) -> None:
        """Make everything durable, note that it is, and give the files back. No sync may be running."""
        with suppress(StorageFullError, StorageFailedError):
            # Whatever fails here was promised to nobody.
            self._sync()
            self.journal.mark()
            self._sync()
        self.votes.close()
        self.journal.close()

    def _sync(self) -> None:
        if self.dirty:
            plan = self.begin_sync()
            plan.run()
            self.end_sync(plan)


def _open_votes(files: Files, directory: Path, identity: bytes, numbers: WriteNumbers) -> VoteFile:
    """Open the votes, or make them in a directory without a past."""
    if vote_files.FILE_NAME in files.names(directory):
        return VoteFile.open(files, directory, identity, numbers)
    for name in (JOURNAL_DIRECTORY, SNAPSHOT_DIRECTORY):
        if files.names(directory / name):
            reason = f"the term and vote are gone, although the {name} directory is not empty"
            raise CorruptError(directory / vote_files.FILE_NAME, 0, reason)
    return VoteFile.create(files, directory, identity, numbers)

"""The log, watched for member lists: the last one in it is in force, committed or not.

Every write of a log passes through here, so that members in force follow appends and truncations at
once, whoever makes them. Source: Raft thesis 4.1 ("a server always uses the latest configuration in its
log"). Knows nothing of what may be changed: that is ``membership``.
"""

from collections.abc import Callable

from raftq_cluster.backends.raft.commands import CONFIG, Member, decode_members
from raftq_cluster.backends.raft.core_api import Log


class MemberLog:
    """A ``core_api.Log`` over another one. ``base`` is the member list as of the log's base.

    ``on_change`` is called after the members in force have changed.
    """

    def __init__(self, log: Log, base: tuple[Member, ...], on_change: Callable[[], None]) -> None:
        self._log = log
        self._on_change = on_change
        self._lists: list[tuple[int, tuple[Member, ...]]] = [(log.base_index, base)]
        for index in range(log.base_index + 1, log.last_index + 1):
            command = log.command_at(index)
            if command[0] == CONFIG:
                self._lists.append((index, decode_members(command[1:])))
        self.entries = log.entries
        self.term_at = log.term_at
        self.command_at = log.command_at
        self.set_vote = log.set_vote
        self.reserve = log.reserve

    @property
    def members(self) -> tuple[Member, ...]:
        """The members in force."""
        return self._lists[-1][1]

    @property
    def config_index(self) -> int:
        """Index of their entry; at or below the log's base if it is in the snapshot."""
        return self._lists[-1][0]

    def append(self, term: int, command: bytes) -> int:
        """Append an entry; a member list is in force at once."""
        index = self._log.append(term, command)
        if command[0] == CONFIG:
            self._lists.append((index, decode_members(command[1:])))
            self._on_change()
        return index

    def truncate_from(self, index: int) -> None:
        """Drop entries; the member list before them is in force again."""
        self._log.truncate_from(index)
        before = len(self._lists)
        while len(self._lists) > 1 and self._lists[-1][0] >= index:
            self._lists.pop()
        if len(self._lists) < before:
            self._on_change()

    def reset(self, index: int, members: tuple[Member, ...]) -> None:
        """A snapshot of ``index`` with these members was installed; keep what lies behind it."""
        last = self._log.last_index
        behind = [item for item in self._lists if index < item[0] <= last]
        self._lists = [(index, members), *behind]
        self._on_change()

    def forget_before(self, index: int) -> None:
        """Everything up to ``index`` is committed: only the last list of it is needed."""
        while len(self._lists) > 1 and self._lists[1][0] <= index:
            self._lists.pop(0)

    @property
    def base_index(self) -> int:
        """Index of the base."""
        return self._log.base_index

    @property
    def base_term(self) -> int:
        """Term of the base."""
        return self._log.base_term

    @property
    def last_index(self) -> int:
        """Index of the last entry, or of the base."""
        return self._log.last_index

    @property
    def last_term(self) -> int:
        """Term of the last entry, or of the base."""
        return self._log.last_term

    @property
    def durable_index(self) -> int:
        """Index up to which the log is on disk."""
        return self._log.durable_index

    @property
    def term(self) -> int:
        """The term entered last."""
        return self._log.term

    @property
    def voted_for(self) -> str | None:
        """The vote in that term."""
        return self._log.voted_for

    @property
    def vote_is_durable(self) -> bool:
        """Whether that term and vote are on disk."""
        return self._log.vote_is_durable

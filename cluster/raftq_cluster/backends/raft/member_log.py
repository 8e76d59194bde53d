"""The log, watched for member lists and formats: the last in it is in force, committed or not.

Every write of a log passes through here, so that members in force follow appends and truncations at
once, whoever makes them. Source: Raft thesis 4.1 ("a server always uses the latest configuration in its
log"). Knows nothing of what may be changed: that is ``membership``.
"""

from collections.abc import Callable

from raftq_cluster.backends.raft.commands import (
    CONFIG,
    FORMAT,
    FormatTooNewError,
    Member,
    decode_format,
    decode_members,
)
from raftq_cluster.backends.raft.core_api import Log
from raftq_cluster.backends.raft.membership import Listed
from raftq_cluster.codec.formats import FIRST


class MemberLog:
    """A ``core_api.Log`` over another one. ``base`` and ``log_format`` are as of the log's base.

    ``on_change`` is called after the member lists of the log have changed. A format above ``reads`` is taken
    neither from the log nor into it.
    """

    def __init__(
        self,
        log: Log,
        base: tuple[Member, ...],
        on_change: Callable[[], None],
        *,
        log_format: int = FIRST,
        reads: int = FIRST,
    ) -> None:
        self._log = log
        self._on_change = on_change
        self._reads = reads
        self._formats: list[tuple[int, int]] = [(log.base_index, log_format)]
        self.log_format = log_format
        """What the next entry is written in."""
        self._lists = [Listed(base, log.base_index)]
        for index in range(log.base_index + 1, log.last_index + 1):
            command = log.command_at(index)
            if command[0] == CONFIG:
                self._lists.append(Listed(decode_members(command[1:]), index))
            elif command[0] == FORMAT:
                self._note_format(index, self._check_format(command))
        self.entries = log.entries
        self.term_at = log.term_at
        self.command_at = log.command_at
        self.set_vote = log.set_vote
        self.reserve = log.reserve

    @property
    def members(self) -> tuple[Member, ...]:
        """The members in force."""
        return self._lists[-1].members

    @property
    def config_index(self) -> int:
        """Index of their entry; at or below the log's base if it is in the snapshot."""
        return self._lists[-1].entry

    @property
    def lists(self) -> tuple[Listed, ...]:
        """The list in force, and before it, in order, those that a truncation may put in force again."""
        return tuple(self._lists)

    def append(self, term: int, command: bytes) -> int:
        """Append an entry; a member list, or a format, is in force at once.

        Raises:
            FormatTooNewError: the log would go on in a format that cannot be read; nothing has changed.
        """
        number = self._check_format(command) if command[0] == FORMAT else 0
        index = self._log.append(term, command)
        if number:
            self._note_format(index, number)
        elif command[0] == CONFIG:
            self._lists.append(Listed(decode_members(command[1:]), index))
            self._on_change()
        return index

    def _check_format(self, command: bytes) -> int:
        number = decode_format(command)
        if number > self._reads:
            raise FormatTooNewError(number, self._reads)
        return number

    def _note_format(self, index: int, number: int) -> None:
        """Formats rise: who appends one that is not higher has said nothing."""
        self.log_format = max(self.log_format, number)
        self._formats.append((index, self.log_format))

    def truncate_from(self, index: int) -> None:
        """Drop entries; member list and format before them are in force again."""
        self._log.truncate_from(index)
        while len(self._formats) > 1 and self._formats[-1][0] >= index:
            self._formats.pop()
        self.log_format = self._formats[-1][1]
        before = len(self._lists)
        while len(self._lists) > 1 and self._lists[-1].entry >= index:
            self._lists.pop()
        if len(self._lists) < before:
            self._on_change()

    def reset(self, index: int, members: tuple[Member, ...], log_format: int = FIRST) -> None:
        """A snapshot of ``index`` with these was installed; keep what lies behind it."""
        last = self._log.last_index
        later = [item for item in self._formats if index < item[0] <= last]
        self._formats = [(index, log_format), *later]
        self.log_format = self._formats[-1][1]
        behind = [item for item in self._lists if index < item.entry <= last]
        self._lists = [Listed(members, index), *behind]
        self._on_change()

    def forget_before(self, index: int) -> None:
        """Everything up to ``index`` is committed: only the last list and format of it are needed."""
        while len(self._formats) > 1 and self._formats[1][0] <= index:
            self._formats.pop(0)
        before = len(self._lists)
        while len(self._lists) > 1 and self._lists[1].entry <= index:
            self._lists.pop(0)
        if len(self._lists) < before:
            self._on_change()

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

"""Linearizable reads without a log entry: a leader confirms that it still leads, followers ask it.

    leader:    note the commit index, raise the round; a majority has heard of the round: confirmed
    follower:  ask the leader, who does the same, and learn the index

Whoever waits is let go when that index is applied here. All reads of one turn of the loop share a round or a
question. Source: Raft thesis 6.4 (ReadIndex). Knows nothing of tasks.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from raftq_cluster.backends.raft.messages import AskRead, Message, ReadAt

# A question that was lost with its connection, or met a node that does not lead any more, is asked again.
RETRY_S: Final = 0.2
QUESTIONS_MAX: Final = 10_000  # of other nodes, waiting for confirmation at a leader


class Reads:
    """Reads that wait at this node, its own and those of others. ``send`` takes (peer, message)."""

    def __init__(self, send: Callable[[str, Message], bool]) -> None:
        self._send = send
        self.round = 0  # the last one begun in this leadership
        self._fresh: list[asyncio.Future[None]] = []  # not asked for yet
        self._asked: list[tuple[int, list[asyncio.Future[None]]]] = []  # (question, who waits)
        self._rounds: list[tuple[int, int, list[tuple[str, int]]]] = []  # (round, index, questions)
        self._questions: list[tuple[str, int]] = []  # of others, not in a round yet
        self._applying: list[tuple[int, list[asyncio.Future[None]]]] = []  # (index, who waits)
        self._number = 0
        self._asked_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether anybody waits for an answer from elsewhere."""
        return bool(self._fresh or self._asked or self._questions or self._rounds)

    def add(self, future: asyncio.Future[None]) -> None:
        """Let a reader wait."""
        self._fresh.append(future)

    def on_question(self, peer: str, question: AskRead) -> None:
        """Take another node's question. One that is not answered is asked again."""
        if len(self._questions) < QUESTIONS_MAX:
            self._questions.append((peer, question.number))

    # --- at the leader ------------------------------------------------------------------------

    def begin_round(self, commit: int) -> None:
        """Put all that asked since the last round into one. ``commit`` covers the own no-op."""
        self._take_back()
        if not (self._fresh or self._questions):
            return
        self.round += 1
        if self._fresh:
            self._number += 1
            self._asked.append((self._number, self._fresh))
            self._questions.append(("", self._number))
            self._fresh = []
        self._rounds.append((self.round, commit, self._questions))
        self._questions = []

    def confirm(self, heard_round: int) -> None:
        """A majority has heard of this round: answer it and all before it."""
        while self._rounds and self._rounds[0][0] <= heard_round:
            _round, index, questions = self._rounds.pop(0)
            for peer, number in questions:
                if peer:
                    self._send(peer, ReadAt(number, index))
                else:
                    self.on_answer(number, index)

    def end_leadership(self) -> None:
        """Nobody can be answered any more; our own readers ask the next leader."""
        self.round = 0
        self._rounds.clear()
        self._questions.clear()
        self._take_back()

    def _take_back(self) -> None:
        """Own readers whose question went elsewhere, or into a leadership that is over, ask anew."""
        open_numbers = {
            number for _, _, asked in self._rounds for peer, number in asked if not peer
        }
        for number, waiting in self._asked:
            if number not in open_numbers:
                self._fresh.extend(waiting)
        self._asked = [item for item in self._asked if item[0] in open_numbers]

    # --- at a follower ------------------------------------------------------------------------

    def ask(self, leader: str, now_s: float) -> None:
        """Ask the leader for all that wait; again for those who have waited too long."""
        if self._asked and now_s - self._asked_s >= RETRY_S:
            for _number, waiting in self._asked:
                self._fresh.extend(waiting)
            self._asked = []
        self._fresh = [future for future in self._fresh if not future.done()]
        if not self._fresh:
            return
        self._number += 1
        if self._send(leader, AskRead(self._number)):
            self._asked.append((self._number, self._fresh))
            self._asked_s = now_s
            self._fresh = []

    def on_answer(self, number: int, index: int) -> None:
        """Whoever asked up to ``number`` may go when ``index`` is applied."""
        while self._asked and self._asked[0][0] <= number:
            _, waiting = self._asked.pop(0)
            self._applying.append((index, waiting))

    # --- at both ------------------------------------------------------------------------------

    def release(self, applied: int) -> None:
        """Let go whoever waited for an index that is applied by now."""
        if not self._applying:
            return
        waiting, self._applying = self._applying, []
        for index, futures in waiting:
            if index > applied:
                self._applying.append((index, futures))
                continue
            for future in futures:
                if not future.done():
                    future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Tell everyone that there will be no answer."""
        groups = [self._fresh]
        groups += [waiting for _, waiting in self._asked]
        groups += [waiting for _, waiting in self._applying]
        for future in (future for group in groups for future in group):
            if not future.done():
                future.set_exception(error)
        self._fresh, self._asked, self._applying = [], [], []
        self._rounds.clear()
        self._questions.clear()

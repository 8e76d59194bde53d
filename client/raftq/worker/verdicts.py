"""From what a handler returned or raised to what is committed. Pure: no IO, no clock.

Source of the rules: ``docs/worker.md``.
"""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from raftq.backoff import Backoff
from raftq.errors import InvalidRequest
from raftq.tasks import Modification, Target, Task

ERR_BYTES_MAX: Final = 16 * 1024  # a node takes 64 KiB; the last frames of a stack say enough


class RetryError(Exception):
    """Raise it to have the task tried again later, with the error kept and one more attempt counted.

    ``delay_ms`` replaces the worker's backoff. At the worker's ``max_attempts`` the task is moved
    to the error queue. ``then_stop`` stops the worker after that.
    """

    def __init__(
        self, err: str = "", *, delay_ms: int | None = None, then_stop: bool = False
    ) -> None:
        super().__init__(err)
        self.delay_ms = delay_ms
        self.then_stop = then_stop


class MoveError(Exception):
    """Raise it to have the task moved at once, with the error kept: to ``queue``, or the error queue."""

    def __init__(self, err: str = "", *, queue: str | None = None, then_stop: bool = False) -> None:
        super().__init__(err)
        self.queue = queue
        self.then_stop = then_stop


class StopWorker(Exception):  # noqa: N818 - an order, not an error
    """Raise it to stop the worker cleanly: the task is handed back with no attempt counted."""


class FatalWorker(Exception):  # noqa: N818 - an order, not an error
    """Raise it to stop the worker with this error: the task comes back when its lease ends."""


Kind = Literal["done", "retried", "moved", "released"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is to become of a task: a modification that changes or deletes it."""

    kind: Kind
    modification: Modification
    then_stop: bool = False

    def for_version(self, version: int, id_: str) -> Modification:
        """Give the modification with the task's version as it is after all renewals."""
        given = self.modification
        changes = [
            replace(change, version=version) if change.id == id_ else change
            for change in given.changes
        ]
        deletes = [Target(id_, version) if target.id == id_ else target for target in given.deletes]
        depends = [target for target in given.depends if target.id != id_]
        touched = {part.id for part in (*given.changes, *given.deletes)}
        if id_ not in touched:
            deletes.append(Target(id_, version))
        return replace(given, changes=changes, deletes=deletes, depends=depends)


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How often, how soon and where to. ``max_attempts`` and ``max_claims``: 0 is without limit."""

    max_attempts: int
    max_claims: int
    retry_ms_first: int
    retry_ms_max: int
    error_queue: Callable[[str], str]

    def after_result(self, task: Task, result: object) -> Verdict:
        """Decide about a task whose handler returned ``result``."""
        if result is None:
            return Verdict(kind="done", modification=Modification())
        if isinstance(result, Modification):
            return Verdict(kind="done", modification=result)
        kind = type(result).__name__
        why = InvalidRequest(f"the handler returned a {kind}; it may return None or a Modification")
        return self.after_error(task, why)

    def after_error(self, task: Task, error: BaseException) -> Verdict:
        """Decide about a task whose handler raised ``error``; StopWorker and FatalWorker are not it."""
        err = text_of(error)
        if isinstance(error, MoveError):
            return self.move(
                task, error.queue or self.error_queue(task.queue), err, error.then_stop
            )
        delay_ms = error.delay_ms if isinstance(error, RetryError) else None
        then_stop = isinstance(error, RetryError) and error.then_stop
        attempt = task.attempt + 1
        if self.max_attempts and attempt >= self.max_attempts:
            change = task.change(
                queue=self.error_queue(task.queue), delay_ms=0, attempt=attempt, err=err
            )
            kind: Kind = "moved"
        else:
            pause_ms = self._pause_ms(task.attempt) if delay_ms is None else delay_ms
            change = task.change(delay_ms=pause_ms, attempt=attempt, err=err)
            kind = "retried"
        return Verdict(kind=kind, modification=Modification(changes=[change]), then_stop=then_stop)

    def before_work(self, task: Task) -> Verdict | None:
        """Decide about a task that keeps ending its workers, before it ends this one."""
        unfinished = task.claims - 1 - task.attempt
        if not self.max_claims or unfinished < self.max_claims:
            return None
        err = (
            f"claimed {task.claims} times with {task.attempt} errors recorded: "
            f"its workers end, or lose their leases, without saying why"
        )
        if task.err:
            err = f"{err}; last error: {task.err}"
        return self.move(task, self.error_queue(task.queue), _cut(err))

    def move(self, task: Task, queue: str, err: str, then_stop: bool = False) -> Verdict:
        """Move a task, ready at once, with an error."""
        change = task.change(queue=queue, delay_ms=0, err=err)
        return Verdict(
            kind="moved", modification=Modification(changes=[change]), then_stop=then_stop
        )

    def _pause_ms(self, attempts: int) -> int:
        backoff = Backoff(self.retry_ms_first / 1_000, self.retry_ms_max / 1_000)
        return round(backoff.pause_s(attempts) * 1_000)


def release(task: Task, *, then_stop: bool = False) -> Verdict:
    """Hand a task back now, with no attempt counted."""
    modification = Modification(changes=[task.change(delay_ms=0)])
    return Verdict(kind="released", modification=modification, then_stop=then_stop)


def error_queue_of(given: Mapping[str, str] | Callable[[str], str] | None) -> Callable[[str], str]:
    """Give the function from a queue to its error queue; one that a mapping leaves out has ``/err``."""
    if given is None:
        return lambda queue: f"{queue}/err"
    if isinstance(given, Mapping):
        mapping = given
        return lambda queue: mapping.get(queue, f"{queue}/err")
    return given


def text_of(error: BaseException) -> str:
    """Write an error as a task keeps it: what the handler said, or type, message and stack."""
    if isinstance(error, RetryError | MoveError) and str(error):
        return _cut(str(error))
    lines = traceback.format_exception(error)
    head = "".join(traceback.format_exception_only(error)).strip()
    return _cut(f"{head}\n\n{''.join(lines)}".strip())


def _cut(text: str) -> str:
    """Keep the beginning and the end of a long text."""
    data = text.encode(errors="replace")
    if len(data) <= ERR_BYTES_MAX:
        return data.decode()
    half = ERR_BYTES_MAX // 2 - 8
    return f"{data[:half].decode(errors='ignore')}\n[…]\n{data[-half:].decode(errors='ignore')}"

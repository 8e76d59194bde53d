"""What a program of EntroQ's does with its published client: run by that client's own Python.

    python semantics.py URL

Workers, docs, dependency errors: ends with 0 and the word ``done``, or with what was not so.
"""

import asyncio
import sys
import uuid
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from entroq.json import EntroQJSON
from entroq.types import DependencyError, DocData, Modification, TaskData
from entroq.worker import DocClaim, EntroQWorker, MoveError, RetryError, StopWorker

M = Modification
IS_NEW = version("entroq") >= "0.15"
LARGE = 2**60 + 1


async def refusal(doing) -> DependencyError:
    """Give the error that something ends with."""
    try:
        await doing
    except DependencyError as error:
        return error
    raise AssertionError("it was done, and should not have been")


async def tasks(eq: EntroQJSON, q: str) -> None:
    server = await eq.time()
    assert abs((server - datetime.now(UTC)).total_seconds()) < 60
    assert await eq.try_claim(q) is None
    later = server + timedelta(hours=1)
    made = await eq.modify(M(M.inserting(TaskData(q, value={"n": LARGE})),
                             M.inserting(TaskData(q, at=later, id=uuid.uuid4().hex))))  # fmt: skip
    assert [task.version for task in made.tasks_inserted] == [0, 0]
    assert made.tasks_inserted[0].value == {"n": LARGE}
    (stats,) = await eq.queues(exact=[q])
    assert (stats["num_tasks"], stats["num_available"], stats["num_future"]) == (2, 1, 1), stats
    task = await eq.try_claim([q], duration_ms=45_000)
    assert (task.claims, task.version, task.claimant) == (1, 1, eq.claimant_id)
    assert task.value == {"n": LARGE}
    assert 44 < (task.at - task.modified).total_seconds() < 46
    assert len(await eq.tasks(q)) == 2
    assert {item.value for item in await eq.tasks(q, omit_values=True)} == {None}
    stale = M(M.deleting(made.tasks_inserted[0]), M.inserting(TaskData(q)))
    error = await refusal(eq.modify(stale))
    assert [item.id for item in error.deletes] == [task.id]
    assert not error.has_claimed_docs()
    async with EntroQJSON(eq._base_url) as other:
        error = await refusal(other.modify(M(M.deleting(task))))
    assert [item.id for item in error.claims] == [task.id]
    error = await refusal(eq.modify(M(M.inserting(TaskData(q, id=task.id)))))
    assert [item.id for item in error.inserts] == [task.id]
    await eq.modify(M(M.deleting(task)))


async def waiting(eq: EntroQJSON, q: str) -> None:
    claiming = asyncio.create_task(eq.claim(q))
    await asyncio.sleep(0.2)
    assert not claiming.done()
    at = await eq.time() + timedelta(seconds=1)
    await eq.modify(M(M.inserting(TaskData(q, value=1, at=at))))
    task = await asyncio.wait_for(claiming, 20)
    assert task.value == 1
    await eq.modify(M(M.deleting(task)))
    try:
        await eq.claim(q, timeout_s=0.2)
    except TimeoutError:
        pass
    else:
        raise AssertionError("a claim ended without a task")


async def docs(eq: EntroQJSON, ns: str) -> None:
    made = await eq.modify(M(*[
        M.inserting(DocData(ns, key, secondary_key=sub, content={"k": key}))
        for key, sub in (("b", "2"), ("a", "1"), ("b", "1"))
    ]))  # fmt: skip
    assert {doc.version for doc in made.docs_inserted} == {0}
    listed = [(doc.key, doc.secondary_key) for doc in await eq.docs(namespace=ns)]
    assert listed == [("a", "1"), ("b", "1"), ("b", "2")]
    claimed = await eq.claim_docs(ns, "b", 60_000)
    assert {doc.claimant for doc in claimed} == {eq.claimant_id}
    async with EntroQJSON(eq._base_url) as other:
        error = await refusal(other.claim_docs(ns, "b", 60_000))
    assert error.has_claimed_docs()
    assert not error.has_missing_docs()
    at = datetime.now(UTC) + timedelta(seconds=90)
    renewed = await eq.modify(M(*[M.changing(doc, at=at) for doc in claimed]))
    assert {doc.version for doc in renewed.docs_changed} == {2}
    assert [doc.content for doc in renewed.docs_changed] == [{"k": "b"}] * 2
    done = await eq.modify(M(M.changing(renewed.docs_changed[0], content=5)))
    assert (done.docs_changed[0].claimant, done.docs_changed[0].version) == ("", 3)
    error = await refusal(eq.modify(M(M.deleting(renewed.docs_changed[0]))))
    assert error.has_missing_docs()
    if IS_NEW:
        held = await eq.claim_docs(ns, "empty", 60_000)
        (empty,) = held.sets
        result = await eq.modify(M(M.arriving(empty, 0.0)))
        assert result.docs_changed[0].is_set_ref()
        assert result.docs_changed[0].claimant == ""


async def work(eq: EntroQJSON, q: str, ns: str) -> None:
    await eq.modify(M(M.inserting(DocData(ns, "total", id="total", content=0))))
    await eq.modify(M(*[M.inserting(TaskData(q, value=n)) for n in range(10)]))
    await eq.modify(
        M(M.inserting(TaskData(q, value="retry")), M.inserting(TaskData(q, value="move")))
    )
    seen: list[object] = []

    @EntroQWorker.handler
    async def handler(task, found):
        seen.append(task.value)
        if task.value == "retry" and task.attempt == 0:
            raise RetryError("try again", delay_s=0.01)
        if task.value == "move":
            raise MoveError("poison")
        if task.value == "stop":
            raise StopWorker
        (doc,) = found
        number = task.value if isinstance(task.value, int) else 100
        return M(M.deleting(task), M.changing(doc, content=doc.content + number))

    @handler.selector
    async def handler(task):
        return [] if task.value in ("move", "stop") else [DocClaim(ns, "total")]

    worker = EntroQWorker(eq, q, claim_duration_s=45, max_attempts=3, retry_delay_s=0.01)
    running = asyncio.create_task(worker.run(handler))
    while True:
        (total,) = await eq.docs(namespace=ns, key_exact="total")
        if total.content == 145:
            break
        assert not running.done(), running
        await asyncio.sleep(0.05)
    while not await eq.tasks(f"{q}/err"):
        await asyncio.sleep(0.05)
    worker.stop()
    await asyncio.wait_for(running, 30)
    (moved,) = await eq.tasks(f"{q}/err")
    assert (moved.value, moved.err) == ("move", "poison")
    assert await eq.tasks(q) == []
    assert seen.count("retry") == 2


async def main(url: str) -> None:
    name = f"/entroq/{uuid.uuid4().hex}"
    async with EntroQJSON(url) as eq:
        await tasks(eq, f"{name}/tasks")
        await waiting(eq, f"{name}/waiting")
        await docs(eq, f"{name}/docs")
        await work(eq, f"{name}/work", f"{name}/state")


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(sys.argv[1]), 90))
    sys.stdout.write("done\n")

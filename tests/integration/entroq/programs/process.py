"""Process tasks with EntroQ's published client and its worker, whatever happens to the nodes.

    python process.py COUNT URL URL URL

Inserts COUNT tasks, works on them in eight workers that move to the next node when theirs fails, and ends
when every task is done. A result has its task's number as its id: a second one would collide.
"""

import asyncio
import sys
from itertools import count

import httpx
from entroq.json import EntroQJSON
from entroq.types import DependencyError, Modification, TaskData, TransportError
from entroq.worker import EntroQWorker

M = Modification
WORKERS = 8
BATCH = 100
LEASE_S = 5
FAILURES = (TransportError, httpx.HTTPError, OSError, RuntimeError)
IN, OUT = "/entroq/in", "/entroq/out"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def insert(urls: list[str], tasks: int) -> None:
    for begin in range(0, tasks, BATCH):
        numbers = range(begin, min(begin + BATCH, tasks))
        for attempt in count():
            try:
                async with EntroQJSON(urls[attempt % len(urls)]) as eq:
                    await eq.modify(
                        M(*[M.inserting(TaskData(IN, value=n, id=f"in-{n}")) for n in numbers])
                    )
                break
            except DependencyError as error:
                if len(error.inserts) != len(numbers):
                    raise AssertionError("a batch was inserted in part") from error
                break  # a former try was done, though its answer was lost
            except FAILURES:
                await asyncio.sleep(0.2)


async def work(urls: list[str], first: int, stopping: asyncio.Event) -> None:
    for attempt in count(first):
        try:
            async with EntroQJSON(urls[attempt % len(urls)]) as eq:
                worker = EntroQWorker(eq, IN, claim_duration_s=LEASE_S, max_claims=0)

                @EntroQWorker.handler
                async def handler(task, docs):
                    result = TaskData(OUT, value=task.value, id=f"out-{task.value}")
                    return M(M.deleting(task), M.inserting(result))

                running = asyncio.create_task(worker.run(handler))
                stopped = asyncio.create_task(stopping.wait())
                await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
                worker.stop()
                stopped.cancel()
                await running
                if stopping.is_set():
                    return
        except FAILURES:
            await asyncio.sleep(0.2)


async def until_done(urls: list[str], tasks: int) -> None:
    for attempt in count():
        try:
            async with EntroQJSON(urls[attempt % len(urls)]) as eq:
                while True:
                    sizes = {
                        row["name"]: int(row["num_tasks"])
                        for row in await eq.queues(exact=[IN, OUT])
                    }
                    say(str(sizes.get(OUT, 0)))
                    if sizes.get(OUT, 0) >= tasks and not sizes.get(IN, 0):
                        return
                    await asyncio.sleep(0.25)
        except FAILURES:
            await asyncio.sleep(0.2)


async def main(tasks: int, urls: list[str]) -> None:
    stopping = asyncio.Event()
    workers = [asyncio.create_task(work(urls, number, stopping)) for number in range(WORKERS)]
    await insert(urls, tasks)
    await until_done(urls, tasks)
    stopping.set()
    await asyncio.gather(*workers)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
    say("done")

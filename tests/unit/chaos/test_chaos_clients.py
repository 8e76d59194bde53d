"""Clients that decide themselves what an answer means, or that none came."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
from tests.chaos.clients.client import ATTEMPTS, DocumentClient
from tests.chaos.clients.crew import crew
from tests.chaos.clients.http import EntroQ
from tests.chaos.clients.speaking import (
    NOBODY,
    SILENT,
    Refusal,
    SurpriseError,
    Told,
    outcome_of,
    refusal,
    row_of,
)
from tests.simulation.history import DONE, REFUSED, UNKNOWN, History

from raftq_cluster.core.outcomes import Claimed, Modified, Renewed

TASK = {
    "id": "i1", "version": 2, "queue": "/q", "at": 5, "claimant": "c", "claims": 1, "attempt": 0,
    "priority": 0, "err": "", "created": 3, "modified": 4,
}  # fmt: skip


class Surroundings:
    """A run of three nodes."""

    prefix = "/chaos/1/1/"

    def __init__(self) -> None:
        self.history = History()
        self.counted: Counter[tuple[str, str, str]] = Counter()
        self.broken: list[str] = []

    def nodes(self) -> Sequence[str]:
        return ("n1", "n2", "n3")

    def count(self, dialect: str, verb: str, outcome: str) -> None:
        self.counted[dialect, verb, outcome] += 1

    def blame(self, sentence: str) -> None:
        self.broken.append(sentence)


class Script:
    """A dialect that says what it was told to say, and then that it is done."""

    def __init__(self, *told: Told, dialect: str = "v1 http") -> None:
        self.dialect = dialect
        self._told = list(told)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def call(
        self, node: str, verb: str, document: Mapping[str, Any], wait_s: float = 0.0
    ) -> Told:
        self.asked.append((node, dict(document)))
        return self._told.pop(0) if self._told else Told(DONE, 9, Modified((), ()))

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.clients.client._PAUSE_S", 0)


def client(script: Script) -> DocumentClient:
    return DocumentClient(Surroundings(), "c1", Random(1), script)


@pytest.mark.asyncio
@pytest.mark.usefixtures("instant")
async def test_a_keyed_call_is_repeated_until_it_is_answered() -> None:
    script = Script(NOBODY, SILENT, Told(REFUSED, code="unavailable"))
    call = await client(script).call("modify", {"claimant": "c1"}, keyed=1.0)
    assert (call.status, call.attempts, call.index) == (DONE, 4, 9)
    assert len({document["idempotency_key"] for _, document in script.asked[:4]}) == 1


@pytest.mark.asyncio
@pytest.mark.usefixtures("instant")
async def test_one_unknown_attempt_makes_a_call_unknown_whatever_comes_after_it() -> None:
    script = Script(SILENT, *[NOBODY] * ATTEMPTS)
    call = await client(script).call("modify", {"claimant": "c1"}, keyed=1.0)
    assert (call.status, call.attempts) == (UNKNOWN, ATTEMPTS)


@pytest.mark.asyncio
@pytest.mark.usefixtures("instant")
async def test_a_call_that_nobody_took_was_certainly_not_done() -> None:
    script = Script(*[NOBODY] * ATTEMPTS)
    call = await client(script).call("modify", {"claimant": "c1"}, keyed=1.0)
    assert call.status == REFUSED


@pytest.mark.asyncio
@pytest.mark.usefixtures("instant")
async def test_a_call_without_a_key_is_asked_once() -> None:
    script = Script(SILENT)
    call = await client(script).call("modify", {"claimant": "c1"})
    assert (call.status, call.attempts, len(script.asked)) == (UNKNOWN, 1, 1)


@pytest.mark.asyncio
@pytest.mark.usefixtures("instant")
async def test_old_calls_are_asked_once_more_under_their_keys() -> None:
    one = client(script := Script())
    calls = [await one.call("modify", {"claimant": "c1"}, keyed=1.0) for _ in range(200)]
    repeats = sum(len(call.repeats) for call in calls)
    assert repeats > 5
    assert len(script.asked) == 200 + repeats
    assert len({document["idempotency_key"] for _, document in script.asked}) == 200


@pytest.mark.asyncio
@pytest.mark.usefixtures("instant")
async def test_what_entroq_answers_may_be_a_repetition() -> None:
    call = await client(Script(dialect="entroq")).call("modify", {"claimant": "c1"}, keyed=1.0)
    assert call.attempts > 1


@pytest.mark.asyncio
async def test_an_answer_that_no_client_should_get_is_a_breach() -> None:
    run = Surroundings()

    class Confused(DocumentClient):
        think_s = 0

        async def step(self) -> None:
            raise SurpriseError("a client was told internal")

    class Lost(DocumentClient):
        think_s = 0

        async def step(self) -> None:
            raise KeyError("inserted")

    await Confused(run, "c1", Random(1), Script()).run()
    await Lost(run, "c2", Random(1), Script()).run()
    assert run.broken[0] == "c1: a client was told internal"
    assert run.broken[1].startswith("c2 was told what it cannot read: KeyError")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("unavailable", REFUSED), ("store_full", REFUSED), ("too_busy", REFUSED),
        ("outcome_unknown", UNKNOWN), ("dependency", DONE),
    ],
)  # fmt: skip
def test_refusals_are_sorted_by_what_is_known_of_them(code: str, status: str) -> None:
    assert refusal(code, 3).status == status


@pytest.mark.parametrize("code", ["invalid", "internal", "idempotency_key_reused", "forbidden"])
def test_a_refusal_that_blames_an_honest_client_is_a_surprise(code: str) -> None:
    with pytest.raises(SurpriseError):
        refusal(code)


def test_a_dependency_error_is_an_answer_of_the_state_machine() -> None:
    assert refusal("dependency", 3) == Told(DONE, 3, Refusal("dependency"), "dependency")


def test_documents_become_outcomes() -> None:
    row = row_of(TASK | {"value": "tag|.."})
    assert (row.id, row.version, row.value) == ("i1", 2, b"tag|..")
    assert row_of(TASK | {"value_b64": "dGFnfA=="}).value == b"tag|"
    assert outcome_of("claim", {"tasks": [TASK]}) == Claimed((row_of(TASK),))
    assert outcome_of("modify", {"inserted": [TASK], "changed": []}) == Modified(
        (row_of(TASK),), ()
    )
    lost = {"renewed": [], "lost": [{"id": "i1", "reason": "missing"}]}
    assert isinstance(outcome_of("renew", lost), Renewed)
    assert outcome_of("tasks", {"tasks": []}) == ()


@pytest.mark.asyncio
async def test_entroq_speaks_of_nobody_when_nobody_listens() -> None:
    speaker = EntroQ(lambda _node, _door: ("127.0.0.1", 1))
    document = {"claimant": "c", "inserts": [{"queue": "/q", "value": "v"}]}
    assert await speaker.call("n1", "modify", document) == NOBODY
    await speaker.close()


def test_a_crew_speaks_every_dialect_in_every_kind_that_it_can() -> None:
    clients = crew(Surroundings(), lambda _node, _door: ("127.0.0.1", 1), Random)
    kinds = {(type(c).__name__, c.speaker.dialect) for c in clients}  # type: ignore[attr-defined]
    assert kinds >= {
        ("Producer", "v1 http"), ("Producer", "v1 text"), ("Producer", "entroq"),
        ("Worker", "v1 http"), ("Worker", "v1 text"), ("Worker", "entroq"),
        ("TaskQProducer", "taskq"), ("TaskQWorker", "taskq"),
        ("RegisterClient", "v1 http"), ("SmallQueueClient", "v1 text"),
    }  # fmt: skip
    assert len({c.name for c in clients}) == len(clients)

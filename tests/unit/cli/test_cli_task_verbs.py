"""Verbs on tasks: what each asks of the client library, and what it answers."""

import json

import pytest
from tests.support.raftq_command import invoke, queue, task
from tests.support.recording_client import RecordingClient

from raftq.cli.verbs.put import BYTES_A_BATCH, LINES_A_BATCH
from raftq.errors import DependencyError, InvalidRequest
from raftq.tasks import Insert, Modified, Renewed, Target
from raftq.wire.documents import Lost


def inserting(**answers) -> RecordingClient:
    def modify(*, inserts=(), **_rest):
        return Modified(inserted=[task(f"n{i}") for i, _ in enumerate(inserts)], changed=[])

    return RecordingClient(modify=modify, **answers)


def put(*arguments, stdin=b"", code=0):
    client = inserting()
    ran = invoke(client, "put", "emails", *arguments, stdin=stdin)
    assert ran.code == code, ran.err
    return [insert for call in client.asked("modify") for insert in call["inserts"]]


def test_a_refusal_names_the_field_that_is_wrong():
    def refuse(*_queues, **_rest):
        error = InvalidRequest("Expected `int` >= 1")
        error.field = "lease_ms"
        raise error

    ran = invoke(RecordingClient(claim=refuse), "claim", "emails", "--lease", "0s")
    assert ran.code == 2
    assert ran.err.splitlines()[0] == "raftq: Expected `int` >= 1 (field lease_ms)"


# --- put ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"to": "ada"}', {"to": "ada"}), ("[1, 2]", [1, 2]), ('"word"', "word"), ("12", 12),
        ("null", None), ("hello", "hello"), ("two words", "two words"), ("", None),
        ("NaN", "NaN"), ("12x", "12x"), ("9007199254740993", 9007199254740993),
    ],
)  # fmt: skip
def test_put_takes_json_or_a_plain_word(text, value):
    assert put(text) == [Insert("emails", value)]


@pytest.mark.parametrize("text", ['{"to":', "[1,", '"open', '{"a": NaN}'])
def test_put_refuses_broken_json_instead_of_taking_it_for_a_word(text):
    assert put(text, code=2) == []


def test_put_refuses_a_value_that_is_nested_too_deeply():
    client = inserting()
    ran = invoke(client, "put", "emails", stdin=b"[" * 100_000 + b"]" * 100_000)
    assert ran.code == 2
    assert "The value is nested too deeply." in ran.err
    assert not client.asked("modify")


def test_put_reads_stdin_or_a_file(tmp_path):
    file = tmp_path / "value.json"
    file.write_text('{"x": 1}\n')
    assert put(stdin=b'{"x": 1}\n') == put("--file", str(file)) == [Insert("emails", {"x": 1})]
    assert put("--file", "-", stdin=b"7") == [Insert("emails", 7)]


def test_put_stores_bytes_as_they_are():
    assert put("--bytes", stdin=b"\x00\xff\n") == [Insert("emails", b"\x00\xff\n")]


def test_put_refuses_bytes_that_are_no_text():
    assert put(stdin=b"\xff\xfe", code=2) == []


def test_put_says_when_and_as_what():
    assert put("1", "--id", "a", "--delay", "10m", "--priority", "5") == [
        Insert("emails", 1, id="a", delay_ms=600_000, priority=5)
    ]
    assert put("1", "--at", "2023-11-14T22:13:20Z") == [Insert("emails", 1, at=1_700_000_000_000)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("1", "--at", "5", "--delay", "1s"), ("1", "--file", "-"), ("1", "--lines"),
        ("--lines", "--id", "x"), ("--delay", "soon", "1"), ("--at", "soon", "1"),
    ],
)  # fmt: skip
def test_put_refuses_options_that_exclude_each_other(arguments):
    assert put(*arguments, code=2) == []


def test_put_makes_each_line_a_task_and_skips_empty_ones():
    assert put("--lines", stdin=b'{"x": 1}\r\n\nword\n3') == [
        Insert("emails", {"x": 1}), Insert("emails", "word"), Insert("emails", 3),
    ]  # fmt: skip


def test_put_sends_lines_in_batches_by_count_and_by_bytes():
    client = inserting()
    invoke(client, "put", "q", "--lines", stdin=b"1\n" * (LINES_A_BATCH + 1))
    assert [len(call["inserts"]) for call in client.asked("modify")] == [LINES_A_BATCH, 1]
    client = inserting()
    half = b"x" * (BYTES_A_BATCH // 2 + 1)
    invoke(client, "put", "q", "--lines", stdin=half + b"\n" + half)
    assert [len(call["inserts"]) for call in client.asked("modify")] == [1, 1]


def test_each_batch_has_an_idempotency_key_of_its_own():
    client = inserting()
    invoke(client, "put", "q", "--lines", "--idempotency-key", "k", stdin=b"1\n" * 501)
    assert [call["idempotency_key"] for call in client.asked("modify")] == ["k", "k.1"]


def test_put_answers_with_the_tasks_and_says_so():
    ran = invoke(inserting(), "put", "q", "1")
    assert json.loads(ran.out)["id"] == "n0"
    assert ran.err == "1 task put\n"
    assert invoke(inserting(), "put", "q", "1", "-o", "id", "-q") == (0, "n0\n", "")


def test_a_dry_run_asks_for_one_and_says_so():
    client = inserting()
    ran = invoke(client, "put", "q", "1", "--dry-run")
    assert client.asked("modify")[0]["dry_run"] is True
    assert ran.err == "dry run, nothing was changed: would be 1 task put\n"


# --- claim and renew ---------------------------------------------------------------------------


def test_claim_passes_queues_lease_wait_and_limit_on():
    client = RecordingClient(claim=[task(value={"x": 1})])
    ran = invoke(
        client, "claim", "a", "b", "--lease", "5m", "--wait", "30s", "--limit", "7",
        "--idempotency-key", "k",
    )  # fmt: skip
    assert client.calls[0] == (
        "claim",
        ("a", "b"),
        {"lease_ms": 300_000, "wait_ms": 30_000, "limit": 7, "idempotency_key": "k"},
    )
    assert json.loads(ran.out)["value"] == {"x": 1}
    assert ran.code == 0


def test_a_claim_that_finds_nothing_exits_with_4_and_prints_nothing():
    assert invoke(RecordingClient(), "claim", "a") == (4, "", "no task had arrived\n")


def test_a_dry_claim_claims_nothing_and_tells_what_is_ready():
    client = RecordingClient(queues=[queue("a", ready=3), queue("b", ready=9, paused=True)])
    ran = invoke(client, "claim", "a", "b", "--limit", "5", "--dry-run")
    assert "would be 3 claimed" in ran.err
    assert client.asked("claim") == []
    assert invoke(RecordingClient(), "claim", "a", "--dry-run").code == 4


def test_renew_asks_for_versions_that_were_not_given():
    client = RecordingClient(
        tasks=[task("a", 4)], renew=Renewed(renewed=[task("a", 5), task("b", 3)], lost=[])
    )
    ran = invoke(client, "renew", "a", "b@2", "--lease", "1m")
    name, arguments, _ = client.calls[-1]
    assert (name, arguments) == ("renew", ([Target("a", 4), Target("b", 2)], 60_000))
    assert ran.code == 0


def test_a_lost_task_is_named_and_exits_with_3():
    lost = [Lost(id="b", reason="version")]
    ran = invoke(RecordingClient(renew=Renewed(renewed=[], lost=lost)), "renew", "b@2")
    assert ran.code == 3
    assert "b is lost: it has another version by now" in ran.err


def test_a_dry_renew_only_checks_the_versions():
    client = RecordingClient()
    invoke(client, "renew", "b@2", "--dry-run")
    assert client.asked("renew") == []
    assert client.asked("modify") == [{"depends": [Target("b", 2)], "dry_run": True}]


# --- done, fail, release, rm -------------------------------------------------------------------


def test_done_deletes_at_the_versions_that_were_named():
    client = RecordingClient()
    ran = invoke(client, "done", "a@1", "x@y@22")
    assert client.asked("modify")[0]["deletes"] == [Target("a", 1), Target("x@y", 22)]
    assert ran.err == "2 tasks done\n"


def test_done_takes_what_claim_prints():
    claimed = invoke(RecordingClient(claim=[task("a", 3), task("b", 5)]), "claim", "q").out
    client = RecordingClient()
    assert invoke(client, "done", "-", stdin=claimed).code == 0
    assert client.asked("modify")[0]["deletes"] == [Target("a", 3), Target("b", 5)]


def test_done_takes_plain_ids_on_stdin_too():
    client = RecordingClient(tasks=[task("a", 3)])
    invoke(client, "done", "-", stdin="a\n\nb@9\n")
    assert client.asked("modify")[0]["deletes"] == [Target("a", 3), Target("b", 9)]


@pytest.mark.parametrize("line", ['{"id": ', '{"version": 1}', "{}"])
def test_a_line_that_names_no_task_is_refused_by_its_number(line):
    ran = invoke(RecordingClient(), "done", "-", stdin=f"a@1\n{line}\n")
    assert ran.code == 2
    assert "Line 2 of stdin" in ran.err


def test_nothing_named_is_a_usage_error():
    assert invoke(RecordingClient(), "done", "-", stdin="").code == 2


@pytest.mark.parametrize("verb", ["done", "fail", "release", "renew", "rm", "get"])
def test_a_task_that_is_not_there_exits_with_4_and_is_named(verb):
    ran = invoke(RecordingClient(tasks=[]), verb, "ghost")
    assert ran.code == 4
    assert "ghost" in ran.err


def test_a_stale_version_exits_with_3():
    ran = invoke(RecordingClient(modify=DependencyError("no")), "done", "a@1")
    assert ran.code == 3


def change_of(*arguments, listed):
    client = RecordingClient(tasks=[listed], modify=Modified(inserted=[], changed=[listed]))
    assert invoke(client, *arguments).code == 0
    (change,) = client.asked("modify")[0]["changes"]
    return change


def test_fail_quarantines_with_the_error():
    change = change_of("fail", "t1", "--err", "no mailbox", listed=task(version=4, attempt=2))
    assert (change.id, change.version) == ("t1", 4)
    assert (change.queue, change.err, change.delay_ms) == ("emails/err", "no mailbox", 0)
    assert change.attempt is None


def test_fail_keeps_what_is_in_quarantine_there():
    assert change_of("fail", "t1", listed=task(queue="emails/err")).queue == "emails/err"


def test_fail_with_a_delay_retries_with_one_more_attempt():
    change = change_of("fail", "t1", "--retry-in", "5m", "--err", "busy", listed=task(attempt=2))
    assert (change.queue, change.delay_ms, change.attempt) == (None, 300_000, 3)


def test_release_gives_back_without_an_attempt():
    change = change_of("release", "t1@9", "--delay", "1m", listed=task(version=10))
    assert (change.version, change.delay_ms, change.attempt, change.err) == (9, 60_000, None, None)


def test_rm_deletes_what_is_named():
    client = RecordingClient()
    assert invoke(client, "rm", "a@1").err == "1 task deleted\n"
    assert client.asked("modify")[0]["deletes"] == [Target("a", 1)]


@pytest.mark.parametrize("arguments", [(), ("a", "--queue", "q")])
def test_rm_wants_either_tasks_or_a_queue(arguments):
    assert invoke(RecordingClient(), "rm", *arguments).code == 2


def emptied(*arguments, **answers):
    listed = [task("a"), task("b"), task("held", claimant="bob", at=2_000_000)]
    client = RecordingClient(queues=[queue(tasks=3, claimed=1)], tasks=listed, **answers)
    return client, invoke(client, "rm", "--queue", "emails", *arguments)


def test_rm_of_a_queue_leaves_claimed_tasks_alone():
    client, ran = emptied("--yes")
    assert client.asked("modify") == [{"deletes": [Target("a", 1), Target("b", 1)]}]
    assert ran.err == "2 tasks deleted from emails\n"


def test_rm_of_a_queue_takes_what_its_inserter_signed_and_nobody_holds():
    listed = [task("late", 0, claimant="maker", at=2_000_000)]
    client = RecordingClient(queues=[queue(tasks=1, claimed=0)], tasks=listed)
    assert invoke(client, "rm", "--queue", "emails", "--yes").code == 0
    assert client.asked("modify") == [{"deletes": [Target("late", 0)]}]


def test_rm_of_a_queue_needs_a_yes_and_shows_the_count():
    client, ran = emptied()
    assert ran.code == 2
    assert "Delete 2 tasks of emails?" in ran.err
    assert client.asked("modify") == []


def test_a_dry_rm_of_a_queue_counts_and_deletes_nothing():
    client, ran = emptied("--dry-run")
    assert ran.err == "dry run, nothing was changed: would be 2 tasks deleted from emails\n"
    assert client.asked("modify") == []


def test_rm_of_an_empty_queue_exits_with_4():
    assert invoke(RecordingClient(), "rm", "--queue", "emails", "--yes").code == 4


# --- modify, peek, get, tasks ------------------------------------------------------------------


def test_modify_sends_every_part_of_the_document():
    document = {
        "claimant": "bob",
        "idempotency_key": "k",
        "inserts": [{"queue": "b", "value": {"n": 1}, "delay_ms": 5}, {"queue": "c", "value_b64": "AP8="}],
        "changes": [{"id": "x", "version": 2, "queue": "d"}, {"id": "y", "version": 3, "value": None}],
        "deletes": [{"id": "z", "version": 4}],
        "depends": [{"id": "w", "version": 5}],
    }  # fmt: skip
    client = RecordingClient(modify=Modified(inserted=[task("n")], changed=[task("x", 3)]))
    ran = invoke(client, "modify", "-", stdin=json.dumps(document))
    assert ran.code == 0, ran.err
    (sent,) = client.asked("modify")
    assert sent["inserts"] == [Insert("b", {"n": 1}, delay_ms=5), Insert("c", b"\x00\xff")]
    moved, cleared = sent["changes"]
    assert (moved.id, moved.version, moved.queue) == ("x", 2, "d")
    assert cleared.value is None
    assert moved.value is not None  # left as it is, which is not null
    assert sent["deletes"] == [Target("z", 4)]
    assert sent["depends"] == [Target("w", 5)]
    assert sent["idempotency_key"] == "k"
    assert client.opened[0][1]["claimant"] == "bob"
    assert ran.err == "2 tasks inserted or changed\n1 task deleted\n"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ('{"insert": []}', "insert"), ("[]", "not a modification"), ("{", "not a modification"),
        ('{"deletes": [{"id": "a"}]}', "version"),
        ('{"inserts": [{"queue": "q", "priority": "x"}]}', "inserts[0].priority"),
    ],
)  # fmt: skip
def test_modify_refuses_what_is_no_modification(document, words):
    client = RecordingClient()
    ran = invoke(client, "modify", "-", stdin=document)
    assert ran.code == 2
    assert words in ran.err
    assert client.calls == []


def test_peek_shows_values_and_claims_nothing():
    client = RecordingClient(tasks=[task(value="v")])
    ran = invoke(client, "peek", "emails", "--limit", "3")
    assert client.calls[0] == ("tasks", (), {"queue": "emails", "limit": 3})
    assert json.loads(ran.out)["value"] == "v"


def test_get_writes_only_the_value_if_asked():
    text = RecordingClient(tasks=[task(value={"x": 1})])
    raw = RecordingClient(tasks=[task(value=b"raw\n")])
    assert invoke(text, "get", "t1", "--value").out == '{"x": 1}\n'
    assert invoke(raw, "get", "t1", "--value").out == "raw\n"


def test_tasks_need_a_queue_or_ids():
    client = RecordingClient()
    assert invoke(client, "tasks").code == 2
    invoke(client, "tasks", "--id", "a", "--id", "b", "--claimant", "bob")
    assert client.calls == [
        ("tasks", (), {"queue": "", "claimant": "bob", "id": ["a", "b"], "limit": 100, "omit_values": True})
    ]  # fmt: skip

"""Verbs of operators: queues and their settings, the cluster, checks, watching."""

import json

import pytest
from tests.support.raftq_command import NOW_MS, cluster, invoke, queue
from tests.support.recording_client import RecordingClient

from raftq.cli.verbs import verify
from raftq.cli.verbs.tail import differences
from raftq.errors import ConnectionLost
from raftq.wire.documents import Settings
from raftq.wire.verification import MemberDigest, VerifyReply


def test_queues_are_listed_by_prefix_and_name():
    client = RecordingClient(queues=[queue(tasks=3, ready=2, claimed=1)])
    ran = invoke(client, "queues", "--prefix", "e", "--exact", "emails", "--limit", "5")
    assert client.calls[0] == ("queues", (), {"prefix": ["e"], "exact": ["emails"], "limit": 5})
    row = json.loads(ran.out)
    assert (row["name"], row["tasks"], row["paused"]) == ("emails", 3, False)


def test_settings_are_listed_without_what_they_leave_open():
    client = RecordingClient(settings=[Settings(pattern="a*", order="fifo")])
    ran = invoke(client, "queues", "settings")
    assert json.loads(ran.out) == {"pattern": "a*", "order": "fifo"}


@pytest.mark.parametrize(("verb", "paused"), [("pause", True), ("resume", False)])
def test_pausing_keeps_the_other_settings_of_the_pattern(verb, paused):
    client = RecordingClient(
        settings=[Settings(pattern="a", order="fifo", lease_ms=5, lease_ms_min=7)]
    )
    ran = invoke(client, "queues", verb, "a")
    assert client.calls[-1] == (
        "configure",
        ("a",),
        {
            "order": "fifo",
            "paused": paused,
            "lease_ms": 5,
            "lease_ms_min": 7,
            "lease_ms_max": None,
            "idempotency_key": "",
        },
    )
    assert ran.code == 0
    assert ran.err == "set for a\n"


def test_set_changes_what_it_names():
    client = RecordingClient()
    invoke(client, "queues", "set", "mail/*", "--lease", "5m", "--order", "priority", "--open")
    ((_, arguments, fields),) = [call for call in client.calls if call[0] == "configure"]
    assert arguments == ("mail/*",)
    assert (fields["lease_ms"], fields["order"], fields["paused"]) == (300_000, "priority", False)


def test_leases_are_bounded_by_a_pattern():
    client = RecordingClient()
    ran = invoke(client, "queues", "set", "*", "--lease-min", "5s", "--lease-max", "1h")
    fields = client.asked("configure")[0]
    assert (fields["lease_ms_min"], fields["lease_ms_max"]) == (5_000, 3_600_000)
    assert json.loads(ran.out) == {
        "pattern": "*",
        "lease_ms_min": 5_000,
        "lease_ms_max": 3_600_000,
    }


def test_clear_removes_all_settings_of_the_pattern():
    client = RecordingClient(settings=[Settings(pattern="a", order="fifo")])
    invoke(client, "queues", "set", "a", "--clear")
    fields = ("order", "paused", "lease_ms", "lease_ms_min", "lease_ms_max")
    assert client.asked("configure")[0] == dict.fromkeys(fields) | {"idempotency_key": ""}


@pytest.mark.parametrize("arguments", [(), ("--clear", "--order", "fifo")])
def test_set_wants_something_to_set(arguments):
    assert invoke(RecordingClient(), "queues", "set", "a", *arguments).code == 2


def test_a_dry_pause_sets_nothing():
    client = RecordingClient()
    ran = invoke(client, "queues", "pause", "a", "--dry-run")
    assert client.asked("configure") == []
    assert json.loads(ran.out) == {"pattern": "a", "paused": True}


def test_the_cluster_is_a_document_for_pipes_and_a_table_for_people():
    client = RecordingClient(cluster=cluster())
    document = json.loads(invoke(client, "cluster").out)
    assert (document["leader"], document["members"][0]["id"]) == ("n1", "n1")
    ran = invoke(client, "cluster", "status", "-o", "table")
    assert ran.out.splitlines()[1].split()[:2] == ["n1", "leader"]
    assert "leader n1, term 3, backend raft, durability fdatasync" in ran.err


def test_a_cluster_without_a_leader_exits_with_5():
    ran = invoke(RecordingClient(cluster=cluster(leader="")), "cluster")
    assert ran.code == 5


def digests(**states):
    members = [MemberDigest(id=id_, state=state, digest="ab") for id_, state in states.items()]
    return VerifyReply(entry=42, members=members)


@pytest.mark.parametrize(
    ("states", "code", "said"),
    [
        ({"n1": "same", "n2": "same"}, 0, "all nodes have the same state at entry 42"),
        ({"n1": "same", "n2": "different"}, 1, "at entry 42 1 node(s) differ from the others"),
        ({"n1": "same", "n2": "silent"}, 5, "1 node(s) have not said what they have"),
        ({"n1": "none", "n2": "same"}, 5, "1 node(s) have not said what they have"),
        ({"n1": "silent", "n2": "different"}, 1, "have not said"),
    ],
)
def test_verifying_tells_by_its_exit_code_whether_all_nodes_have_the_same_state(states, code, said):
    client = RecordingClient(verify=digests(**states))
    ran = invoke(client, "cluster", "verify")
    assert ran.code == code
    assert said in ran.err
    document = json.loads(ran.out)
    assert document["entry"] == 42
    assert {row["id"]: row["state"] for row in document["members"]} == states


def test_verifying_asks_again_until_nobody_is_pending():
    answers = iter([digests(n1="pending"), digests(n1="pending"), digests(n1="same")])
    client = RecordingClient(verify=lambda *_entry: next(answers))
    ran = invoke(client, "cluster", "verify", "-o", "table")
    assert [call[1] for call in client.calls] == [(), (42,), (42,)]
    assert ran.code == 0
    assert ran.out.splitlines()[1].split() == ["n1", "same", "ab"]


def test_verifying_gives_up_in_the_end(monkeypatch):
    monkeypatch.setattr(verify, "PATIENCE_S", -1.0)
    client = RecordingClient(verify=digests(n1="pending"))
    assert invoke(client, "cluster", "verify").code == 5
    assert len(client.calls) == 1


def test_the_time_of_the_log_is_shown():
    ran = invoke(RecordingClient(time=1_700_000_000_123), "cluster", "time", "-o", "table")
    assert ran.out == "2023-11-14T22:13:20.123Z\n"


def test_versions_of_command_and_nodes_are_shown():
    versions = json.loads(invoke(RecordingClient(cluster=cluster()), "version").out)
    assert set(versions) == {"client", "n1"}
    client = RecordingClient()
    assert set(json.loads(invoke(client, "version", "--client").out)) == {"client"}
    assert client.opened == []


# --- check -------------------------------------------------------------------------------------


def check(*arguments, **answers):
    old = queue(ready=50, oldest_ready_at=NOW_MS - 120_000)
    client = RecordingClient(**{"cluster": cluster(), "queues": [old], **answers})
    return invoke(client, "check", *arguments)


def test_a_check_without_bounds_is_well_if_somebody_leads():
    ran = check()
    assert ran.code == 0
    assert ran.out == "OK: n1 leads, 1 queues, 50 tasks ready\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--max-ready", "49"), 2, "CRITICAL: emails has 50 ready tasks"),
        (("--max-ready", "50"), 0, "OK"),
        (("--warn-ready", "49"), 1, "WARNING: emails has 50 ready tasks"),
        (("--max-ready-age", "1m"), 2, "CRITICAL: emails has a task ready for 2m00s"),
        (("--warn-ready-age", "1m", "--max-ready-age", "3m"), 1, "WARNING"),
        (("--warn-ready", "1", "--max-ready", "9"), 2, "CRITICAL"),
    ],
)
def test_a_check_passes_judgement_by_its_bounds(arguments, code, words):
    ran = check(*arguments)
    assert ran.code == code
    assert ran.out.startswith(words)
    assert ran.out.count("\n") == 1


def test_nobody_there_or_no_leader_is_critical():
    assert check(cluster=ConnectionLost("refused")).code == 2
    ran = check(cluster=cluster(leader=""))
    assert (ran.code, ran.out) == (2, "CRITICAL: no leader is known\n")


def test_a_check_has_little_patience_unless_it_is_given_some():
    client = RecordingClient(cluster=cluster())
    invoke(client, "check")
    invoke(client, "check", "--timeout", "30s")
    assert [options["timeout_s"] for _, options in client.opened] == [2.0, 30.0]


def test_a_check_that_cannot_be_done_is_unknown():
    assert check("--max-ready", "many").code == 3
    assert check(cluster=KeyError("x")).code == 3


# --- watching ----------------------------------------------------------------------------------


def looks(*answers):
    """Answer each look with the next list of queues."""
    remaining = list(answers)
    return lambda **_query: remaining.pop(0)


def test_tail_writes_what_has_changed_and_nothing_else():
    client = RecordingClient(
        queues=looks([queue("a", tasks=2, ready=2)], [queue("a", tasks=2, ready=2)], [])
    )
    ran = invoke(client, "tail", "--interval", "0s", "--count", "3")
    first, second = map(json.loads, ran.out.splitlines())
    assert (first["queue"], first["tasks"], first["change"]["tasks"]) == ("a", 2, 2)
    assert (second["tasks"], second["change"]["ready"]) == (0, -2)


def test_tail_writes_a_line_for_people():
    client = RecordingClient(queues=[queue("a", tasks=2, ready=1, claimed=1)])
    out = invoke(client, "tail", "--count", "1", "-o", "table").out
    assert out.endswith("  a  tasks 2 (+2)  ready 1 (+1)  claimed 1 (+1)  delayed 0\n")


def test_queues_that_differ_are_told_in_order():
    changes = differences({"b": (1, 1, 0, 0)}, {"a": (1, 0, 1, 0), "c": (0, 0, 0, 0)})
    assert [change.queue for change in changes] == ["a", "b"]


def test_top_shows_the_fullest_queue_first_and_its_rate():
    client = RecordingClient(
        cluster=cluster(),
        time=iter_of(1_000, 3_000),
        queues=looks(
            [queue("a", tasks=1), queue("b", tasks=5)], [queue("a", tasks=11), queue("b", tasks=5)]
        ),
    )
    ran = invoke(client, "top", "--interval", "0s", "--count", "2", env={"COLUMNS": "200"})
    assert ran.code == 0
    assert ran.out.endswith("\n")
    last = ran.out.splitlines()[-2:]
    assert last[0].split()[0] == "a"
    assert last[0].split()[-1] == "+5.0"
    assert last[1].split()[-1] == "+0.0"


@pytest.mark.parametrize("verb", ["top", "tail"])
def test_ctrl_c_is_how_watching_ends(verb):
    def interrupt(**_query):
        raise KeyboardInterrupt

    assert invoke(RecordingClient(queues=interrupt), verb) == (0, "", "")


def iter_of(*values):
    remaining = list(values)
    return lambda: remaining.pop(0)

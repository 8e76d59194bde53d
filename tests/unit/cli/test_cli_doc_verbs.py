"""``raftq doc``: what is asked of the client, what is shown, and the exit codes."""

import json

import pytest
from tests.support.raftq_command import NOW_MS, invoke
from tests.support.recording_client import RecordingClient

from raftq.docs import Doc
from raftq.tasks import Modified
from raftq.wire.docs import NamespaceCounts

DOC = Doc(
    namespace="/ns",
    id="d",
    version=3,
    key="k",
    claimant="w",
    at=NOW_MS + 5_000,
    value_bytes=b"\xff",
)


def test_docs_are_listed_by_key_and_range():
    client = RecordingClient(docs=[DOC])
    ran = invoke(client, "doc", "list", "/ns", "--from", "a", "--before", "z", "--limit", "5")
    assert client.asked("docs") == [
        {"key": None, "key_start": "a", "key_end": "z", "id": (), "limit": 5}
    ]
    row = json.loads(ran.out)
    assert (row["id"], row["version"], row["value_b64"]) == ("d", 3, "/w==")


def test_a_table_shows_who_holds_a_doc_and_for_how_long():
    client = RecordingClient(docs=[DOC], time=NOW_MS)
    ran = invoke(client, "doc", "list", "/ns", "-o", "table")
    assert "HELD" in ran.out
    assert "5s" in ran.out


def test_put_inserts_a_doc():
    client = RecordingClient(docs=[], modify=Modified(inserted=[], changed=[], docs_inserted=[DOC]))
    ran = invoke(client, "doc", "put", "/ns", "k", '{"a":1}', "--id", "d", "--secondary-key", "s")
    (insert,) = client.asked("modify")[0]["doc_inserts"]
    assert (insert.key, insert.secondary_key, insert.id, insert.value) == ("k", "s", "d", {"a": 1})
    assert ran.code == 0
    assert ran.err == "1 doc put\n"


def test_put_changes_the_doc_of_this_id():
    client = RecordingClient(
        docs=[DOC], modify=Modified(inserted=[], changed=[], docs_changed=[DOC])
    )
    ran = invoke(client, "doc", "put", "/ns", "k", "word", "--id", "d", "--dry-run")
    (change,) = client.asked("modify")[0]["doc_changes"]
    assert (change.id, change.version, change.value) == ("d", 3, "word")
    assert "would be 1 doc put" in ran.err


@pytest.mark.parametrize(
    "arguments", [("k",), ("other", "1", "--id", "d"), ("k", "1", "--file", "-")]
)
def test_put_refuses_what_makes_no_sense(arguments):
    client = RecordingClient(docs=[DOC])
    assert invoke(client, "doc", "put", "/ns", *arguments).code == 2
    assert client.asked("modify") == []


def test_rm_deletes_docs_or_says_which_is_not_there():
    client = RecordingClient(docs=[DOC])
    assert invoke(client, "doc", "rm", "/ns", "d").code == 0
    assert client.asked("modify")[0]["doc_deletes"] == [DOC]
    ran = invoke(client, "doc", "rm", "/ns", "d", "e")
    assert ran.code == 4
    assert invoke(client, "doc", "rm", "/ns", "d", "d").code == 0
    assert client.asked("docs")[-1]["id"] == ("d",)
    assert "no doc e in /ns" in ran.err


def test_namespaces_are_counted():
    counts = NamespaceCounts(name="/ns", docs=2, claimed=1, sets=1)
    client = RecordingClient(namespaces=[counts])
    ran = invoke(client, "doc", "namespaces", "--prefix", "/n")
    assert json.loads(ran.out) == {"name": "/ns", "docs": 2, "claimed": 1, "sets": 1}


def test_a_document_of_parts_about_docs_is_applied_as_it_stands(tmp_path):
    document = {
        "doc_inserts": [{"namespace": "/ns", "key": "k", "value": 1, "lease_ms": 5}],
        "doc_changes": [{"namespace": "/ns", "id": "d", "version": 3, "value_b64": "/w=="}],
        "doc_deletes": [{"namespace": "/ns", "id": "e", "version": 3}],
        "doc_leases": [{"namespace": "/ns", "key": "x", "version": 1, "lease_ms": 0}],
    }
    (tmp_path / "plan.json").write_text(json.dumps(document))
    client = RecordingClient(
        modify=Modified(inserted=[], changed=[], docs_inserted=[DOC], docs_changed=[DOC])
    )
    ran = invoke(client, "modify", str(tmp_path / "plan.json"))
    (asked,) = client.asked("modify")
    assert asked["doc_inserts"][0].value == 1
    assert asked["doc_changes"][0].value == b"\xff"
    assert asked["doc_deletes"] == [("/ns", "e", 3)]
    assert asked["doc_leases"][0].key == "x"
    assert ran.err == "3 parts about docs done\n"

"""``raftq export`` and ``raftq import`` without a node: files, words, and which ports are asked."""

import json
import os
from pathlib import Path

import pytest
from tests.support.raftq_command import cluster, invoke
from tests.support.recording_client import RecordingClient

from raftq.cli.moving import opened_for_writing
from raftq.errors import RaftqError, Unavailable
from raftq.moving import http_addresses
from raftq.wire.export_file import Counts, Header, Writer


def written(*parts: bytes) -> bytes:
    writer = Writer()
    header = Header(format=1, id="ab" * 16)
    counts = Counts(tasks=3, docs=1, keys=2)
    return b"".join(
        [writer.header(header), *map(writer.part, parts), writer.footer(counts, "d" * 32)]
    )


WHOLE = written(b"one", b"two")


def members(*addresses: str):
    (member,) = cluster().members
    found = [
        type(member)(
            **{name: getattr(member, name) for name in member.__struct_fields__}
            | {"id": f"n{n}", "http": http}
        )
        for n, http in enumerate(addresses, 1)
    ]
    return lambda: cluster(node="n2" if len(found) > 1 else "n1", members=found)


def nobody():
    raise AssertionError("nobody is asked")


def test_a_file_is_checked_without_a_node(tmp_path):
    (tmp_path / "file").write_bytes(WHOLE)
    ran = invoke(RecordingClient(), "import", "--dry-run", str(tmp_path / "file"))
    assert ran.code == 0
    found = json.loads(ran.out)
    assert (found["id"], found["digest"], found["tasks"]) == ("ab" * 16, "d" * 32, 3)
    talk = invoke(RecordingClient(), "import", "--dry-run", "-o", "table", str(tmp_path / "file"))
    assert talk.out == ""
    assert talk.err == f"checked 3 tasks, 1 docs, 2 idempotency keys; digest {'d' * 32}\n"


def test_a_file_comes_from_stdin(tmp_path):
    ran = invoke(RecordingClient(), "import", "--dry-run", "-", stdin=WHOLE)
    assert json.loads(ran.out)["docs"] == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (WHOLE[:-1], "before its end"),
        (b"", "the file is empty"),
        (b"hello", "no file of raftq export"),
        (WHOLE.replace(b"two", b"twx"), "damaged"),
    ],
)
@pytest.mark.parametrize("check", [(), ("--dry-run",)])
def test_a_file_that_is_not_whole_is_refused_before_a_node_is_asked(tmp_path, content, says, check):
    (tmp_path / "file").write_bytes(content)
    ran = invoke(RecordingClient(), "import", *check, str(tmp_path / "file"))
    assert ran.code == 1
    assert says in ran.err
    assert "code: bad_file (exit 1)" in ran.err


def test_a_file_that_is_not_there_is_named(tmp_path):
    ran = invoke(RecordingClient(), "import", str(tmp_path / "none"))
    assert ran.code == 1
    assert f"{tmp_path / 'none'}: No such file or directory" in ran.err


@pytest.mark.parametrize("words", [(), ("file", "--abandon"), ("--abandon", "--dry-run")])
def test_either_a_file_or_the_end_of_an_import_is_asked_for(words):
    ran = invoke(RecordingClient(), "import", *words)
    assert ran.code == 2
    assert "Give a FILE, or --abandon alone." in ran.err


def test_an_import_is_not_dropped_without_a_yes():
    ran = invoke(RecordingClient(), "import", "--abandon")
    assert ran.code == 2
    assert "say --yes" in ran.err


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    ran = invoke(RecordingClient(), "export", str(tmp_path / "file"), "--url", "http://127.0.0.1:1")
    assert ran.code == 1
    assert "is there already: --force replaces it" in ran.err
    assert (tmp_path / "file").read_bytes() == b"old"


def test_what_breaks_off_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def break_off() -> None:
        with opened_for_writing(str(target), force=True) as write:
            write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"old"


def test_what_is_whole_takes_the_place_of_the_old_file_for_its_owner_alone(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with opened_for_writing(str(target), force=True) as write:
        write(b"new")
        assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_device_is_written_to_as_it_is():
    with opened_for_writing(os.devnull, force=False) as write:
        write(b"gone")
    assert not Path(os.devnull).is_file()


def test_no_room_is_told_with_the_files_name():
    ran = invoke(RecordingClient(), "export", "/dev/full", "--url", "http://127.0.0.1:1")
    assert ran.code == 5  # nobody is there; the device itself opens


def test_a_node_that_is_not_there_is_told_as_by_every_verb(tmp_path):
    for words in (("export", str(tmp_path / "new")), ("import", str(tmp_path / "file"))):
        (tmp_path / "file").write_bytes(WHOLE)
        ran = invoke(RecordingClient(), *words, "--url", "http://127.0.0.1:1")
        assert ran.code == 5, ran.err
        assert "http://127.0.0.1:1" in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_http_ports_are_those_of_the_url_or_those_that_the_nodes_tell():
    assert [str(a) for a in http_addresses("https://a:1,https://b:2", nobody)] == [
        "https://a:1",
        "https://b:2",
    ]
    told = members("h1:7677", "h2:7677", "")
    assert [str(a) for a in http_addresses("raftq://a:1", told)] == [
        "http://h2:7677",
        "http://h1:7677",
    ]
    secured = http_addresses("raftqs://secret@a:1", told)
    assert str(secured[0]) == "https://h2:7677"


@pytest.mark.parametrize("told", ["0.0.0.0:7677", "[::]:7677"])
def test_a_node_that_listens_anywhere_is_asked_where_the_url_found_it(told):
    (address,) = http_addresses("raftq://queue.example.org:7979", members(told))
    assert str(address) == "http://queue.example.org:7677"


def test_nodes_that_tell_no_http_port_must_be_named():
    with pytest.raises(Unavailable, match="name that port") as error:
        http_addresses("raftq://a:1", members(""))
    assert isinstance(error.value, RaftqError)

"""The command as a whole: help, speed of help, wrong words, errors and exit codes."""

import socket
import subprocess
import sys
import time

import pytest
from tests.support.node_process import REPOSITORY, child_environment
from tests.support.raftq_command import invoke, task
from tests.support.recording_client import RecordingClient

from raftq import errors
from raftq.cli.commands import VERBS
from raftq.cli.invocation import open_client
from raftq.errors import ConnectionLost
from raftq.wire.documents import FailedPart

ALL_VERBS = [name for section in VERBS.values() for name in section]
# Each costs more to import than all of --help may take, or drags in what does.
HEAVY = ("asyncio", "aiohttp", "msgspec", "rich", "ssl", "http.client", "importlib.metadata")


@pytest.mark.parametrize("verb", [(), *((name,) for name in ALL_VERBS)], ids=str)
def test_help_imports_nothing_heavy(verb):
    code = "import sys; from raftq.cli.main import main\ntry: main()\nexcept SystemExit: pass\nprint(sorted(sys.modules), file=sys.stderr)"
    run = subprocess.run(
        [sys.executable, "-c", code, *verb, "--help"],
        env=child_environment(), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "Examples:" in run.stdout
    assert [name for name in HEAVY if f"'{name}'" in run.stderr] == []


@pytest.mark.parametrize("verb", ALL_VERBS)
def test_help_of_every_verb_opens_with_examples(verb):
    ran = invoke(RecordingClient(), verb, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"Examples:\n  raftq {verb}") or "| raftq" in ran.out.splitlines()[1]


def test_every_verb_is_listed_with_what_it_does():
    out = invoke(RecordingClient(), "--help").out
    for section in VERBS.values():
        for name, entry in section.items():
            assert any(
                line.split()[:1] == [name] and entry.summary[:20] in line
                for line in out.splitlines()
            )


def test_without_a_verb_the_help_is_shown():
    ran = invoke(RecordingClient())
    assert ran.code == 0
    assert "Exit codes" in ran.out


def test_an_unknown_verb_suggests_the_nearest():
    ran = invoke(RecordingClient(), "claims")
    assert ran.code == 2
    assert "There is no verb claims. Is claim meant?" in ran.err
    assert ran.out == ""


def test_a_verb_like_no_other_gets_no_suggestion():
    assert "meant" not in invoke(RecordingClient(), "xyzzy").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("put",),
        ("put", "q", "1", "--nope"),
        ("claim", "q", "--lease", "10"),
        ("tasks", "-o", "xml"),
    ],
)
def test_a_usage_error_is_one_line_with_where_to_look(arguments):
    ran = invoke(RecordingClient(), *arguments)
    assert ran.code == 2
    assert ran.out == ""
    first, second = ran.err.splitlines()
    assert first.startswith(f"raftq {arguments[0]}: ")
    assert second == f"  next: raftq {arguments[0]} --help"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ServerFailure("broken"), 1),
        (errors.TooBusy("busy"), 1),
        (errors.ProtocolError("what is this"), 1),
        (errors.InvalidRequest("no such order"), 2),
        (errors.TooLarge("too much"), 2),
        (errors.DependencyError("no"), 3),
        (errors.InvalidRequest("reused", code="idempotency_key_reused"), 3),
        (errors.NotFound("no such task"), 4),
        (errors.Unavailable("no leader"), 5),
        (errors.ConnectionLost("refused"), 5),
        (errors.Denied("no"), 6),
        (errors.OutcomeUnknown("who knows"), 7),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_an_error_says_what_and_its_code_and_exits_by_kind(error, code):
    ran = invoke(RecordingClient(tasks=error), "tasks", "q")
    assert ran.code == code
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert lines[0].startswith("raftq: ")
    assert lines[-1] == f"  code: {error.code} (exit {code})"


def test_an_unknown_outcome_tells_the_key_to_retry_with():
    error = errors.OutcomeUnknown("who knows", idempotency_key="k.7")
    ran = invoke(RecordingClient(modify=error), "put", "q", "1")
    assert ran.code == 7
    assert "--idempotency-key k.7" in ran.err


def test_a_conflict_shows_every_part_that_failed():
    failed = [
        FailedPart(part="delete", index=0, id="a", reason="version", version=4),
        FailedPart(part="delete", index=1, id="b", reason="missing"),
        FailedPart(part="delete", index=2, id="c", reason="claimed", claimant="bob", until=9),
    ]
    error = errors.DependencyError("a part does not hold", failed=failed)
    ran = invoke(RecordingClient(modify=error), "done", "a@1", "b@1", "c@1")
    assert ran.code == 3
    assert "delete a: its version is 4" in ran.err
    assert "delete b: there is no such task" in ran.err
    assert "delete c: bob holds it" in ran.err


def test_an_error_of_ours_is_one_line_and_no_traceback():
    ran = invoke(RecordingClient(tasks=KeyError("x")), "tasks", "q")
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert "RAFTQ_DEBUG=1" in ran.err


def test_ctrl_c_exits_as_shells_expect():
    ran = invoke(RecordingClient(tasks=_interrupt), "tasks", "q")
    assert ran.code == 130


def _interrupt(*_args, **_kwargs):
    raise KeyboardInterrupt


def test_the_client_is_closed_whatever_happens():
    client = RecordingClient(tasks=errors.Unavailable())
    invoke(client, "tasks", "q")
    assert client.closed == 1


def test_the_node_is_named_by_flag_before_variable_before_default():
    client = RecordingClient()
    invoke(client, "tasks", "q")
    invoke(client, "tasks", "q", env={"RAFTQ_URL": "http://a:1"})
    invoke(client, "tasks", "q", "--url", "http://b:1", env={"RAFTQ_URL": "http://a:1"})
    invoke(client, "--url", "http://c:1", "tasks", "q", env={"RAFTQ_URL": "http://a:1"})
    urls = [url for url, _options in client.opened]
    assert urls == ["raftq://127.0.0.1:7979", "http://a:1", "http://b:1", "http://c:1"]


def test_two_commands_of_one_user_are_one_claimant():
    client = RecordingClient(claim=[task()])
    invoke(client, "claim", "q")
    invoke(client, "done", "t1@1")
    invoke(client, "done", "t1@1", "--claimant", "bob")
    first, second, third = (options["claimant"] for _url, options in client.opened)
    assert first == second
    assert first.startswith("ada@")
    assert third == "bob"


def test_a_user_name_that_no_claimant_may_have_is_made_one():
    client = RecordingClient()
    invoke(client, "tasks", "q", env={"USER": "ada of lovelace\n" + "x" * 80})
    claimant = client.opened[0][1]["claimant"]
    assert claimant.startswith("ada_of_lovelace_x")
    assert len(claimant) == 64


def test_the_time_to_give_up_is_passed_on():
    client = RecordingClient()
    invoke(client, "tasks", "q", "--timeout", "1m")
    assert client.opened[0][1]["timeout_s"] == 60
    assert "unreachable_s" not in client.opened[0][1]  # who says how long is taken at the word


def test_a_command_soon_says_that_nobody_is_there_and_one_that_stays_waits():
    client = RecordingClient()
    invoke(client, "tasks", "q")
    assert client.opened[0][1]["unreachable_s"] == 2.0
    invoke(client, "tail", "--count", "1")
    assert all("unreachable_s" not in options for _, options in client.opened[1:])


def test_a_dead_address_is_told_of_within_its_time_by_a_real_client():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"raftq://127.0.0.1:{nobody.getsockname()[1]}"
        began = time.monotonic()
        with (
            open_client(url, unreachable_s=0.2, timeout_s=60) as client,
            pytest.raises(ConnectionLost, match=f"{url}: Connection refused"),
        ):
            client.time()
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell):
    ran = invoke(RecordingClient(), "completion", shell)
    assert ran.code == 0
    assert "_RAFTQ_COMPLETE" in ran.out


def test_every_verb_is_in_the_handbook():
    handbook = (REPOSITORY / "docs" / "cli.md").read_text()
    assert [verb for verb in ALL_VERBS if f"`{verb}" not in handbook] == []

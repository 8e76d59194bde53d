"""What ``docs/http.md`` tells users is true: its tables are the code's, its examples run."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from tests.support.http_node import Header, serving

from raftq.wire.codes import CODES
from raftq.wire.formats import NESTING_MAX
from raftq_cluster.core import doc_store, transaction
from raftq_cluster.servers.http import limits as http_limits
from raftq_cluster.servers.http.reading import PARAMETERS_MAX
from raftq_cluster.servers.http.routes import ROUTES
from raftq_cluster.service import names
from raftq_cluster.service.limits import Limits

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "http.md").read_text("utf-8")
OPTIONS = {"-X": "method", "-H": "header", "-d": "body", "--data-binary": "body"}


def rows(heading: str) -> list[list[str]]:
    """Give the cells of the table under a heading."""
    section = GUIDE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


def commands() -> list[str]:
    """Give every curl command of the guide."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    return [
        command for block in blocks for command in re.split(r"(?m)^(?=curl )", block) if command
    ]


def read_command(command: str) -> tuple[str, str, list[Header], bytes]:
    """Read a curl command: method, target, headers and body."""
    method, target, headers, body = "GET", "", list[Header](), b""
    words = iter(shlex.split(command)[1:])
    for word in words:
        kind = OPTIONS.get(word)
        if kind is None:
            target = word.removeprefix("localhost:7677")
        elif kind == "method":
            method = next(words)
        elif kind == "header":
            name, _, value = next(words).partition(": ")
            headers.append((name, value))
        else:
            body = next(words).encode()
    return method, target, headers, body


def test_the_table_of_errors_is_the_list_of_codes() -> None:
    assert rows("Errors") == [
        [str(code.status), code.name, "yes" if code.retryable else "no", code.title]
        for code in CODES.values()
    ]


def test_the_table_of_limits_has_every_limit_with_its_default() -> None:
    of_the_service = {field.name: getattr(Limits(), field.name) for field in fields(Limits)}
    others = {
        "queue_name_bytes_max": names.QUEUE_BYTES_MAX,
        "id_bytes_max": names.ID_BYTES_MAX,
        "claimant_bytes_max": names.CLAIMANT_BYTES_MAX,
        "key_bytes_max": names.KEY_BYTES_MAX,
        "namespace_bytes_max": names.NAMESPACE_BYTES_MAX,
        "doc_key_bytes_max": names.DOC_KEY_BYTES_MAX,
        "claim_bytes_max": transaction.CLAIM_BYTES_MAX,
        "empty_sets_max": doc_store.EMPTY_SETS_MAX,
        "header_bytes_max": http_limits.HEADER_BYTES_MAX,
        "parameters_max": PARAMETERS_MAX,
        "receiving_bytes_max": http_limits.RECEIVING_BYTES_MAX,
    }
    told = {name: int(default) for name, default, _ in rows("Limits")}
    assert told == of_the_service | others


def test_the_times_that_are_told_are_the_servers() -> None:
    patience = http_limits.Patience()
    assert f"within {patience.head_s:g} seconds and its body within {patience.body_s:g}" in GUIDE
    assert f"more than {doc_store.EMPTY_SETS_KEPT_MAX:,} such" in GUIDE
    assert f"closed after {patience.idle_s:g}" in GUIDE
    assert f"at most {NESTING_MAX} levels" in GUIDE


def test_every_address_is_told() -> None:
    patterns = {route.path: re.escape(route.path).replace(r"\{id\}", r"[^/]*") for route in ROUTES}
    assert [path for path, pattern in patterns.items() if not re.search(pattern, GUIDE)] == []


@pytest.mark.asyncio
async def test_the_examples_do_what_is_said_of_them_one_after_the_other() -> None:
    async with serving() as node, node.peer() as peer:
        answers = []
        for command in commands():
            method, target, headers, body = read_command(command)
            answers.append(await peer.ask(method, target, *headers, body=body))
    assert len(answers) >= 15
    assert {answer.status for answer in answers} == {200}
    assert [answer.body for answer in answers[-3:]] == [
        b"task 1 enqueued\n",
        b'{"id":1,"queue":"q1","body":"VEFTS1FCT0RZ"}\n',
        b"task 1 acknowledged\n",
    ]

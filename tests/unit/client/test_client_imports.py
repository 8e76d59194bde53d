"""``import raftq`` costs next to nothing, and every name is there when it is asked for."""

import subprocess
import sys

import pytest

import raftq

HEAVY = (
    "aiohttp",
    "asyncio",
    "msgspec",
    "click",
    "rich",
    "raftq_cluster",
    "logging",
    "re",
    "typing",
)


def modules_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert modules_after("import raftq") & set(HEAVY) == set()


def test_errors_can_be_had_without_the_client():
    loaded = modules_after("from raftq import OutcomeUnknown")
    assert loaded & {"aiohttp", "asyncio", "msgspec", "raftq.client"} == set()


@pytest.mark.parametrize("name", ["Client", "AsyncClient", "Worker"])
def test_a_text_client_never_loads_http(name):
    loaded = modules_after(f"import raftq; raftq.{name}; raftq.AsyncClient('raftq://a')")
    assert "raftq.transport.text" in loaded
    assert loaded & {"aiohttp", "raftq.transport.http", "raftq_cluster"} == set()


@pytest.mark.parametrize("name", raftq.__all__)
def test_every_promised_name_is_there(name):
    assert getattr(raftq, name).__name__ == name
    assert name in dir(raftq)


def test_an_unknown_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        _ = raftq.Clint

"""Ports for servers that are started later: nobody else's, and nobody listens there."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from free_ports import free_address, free_or_any, free_ports

SCRIPTS = Path(__file__).parents[2] / "scripts"
OTHER = "from free_ports import free_ports; print(*free_ports(100)); input()"


def test_two_processes_are_never_given_the_same_port():
    ours = free_ports(100)
    with subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=SCRIPTS
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        other.stdin.close()
    assert len(theirs) == 100
    assert theirs.isdisjoint(ours)


def test_a_port_where_somebody_listens_is_passed_over():
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert port not in {*free_ports(120), *free_ports(120)}  # once round
        assert free_or_any(port) == 0
    assert free_or_any(port) == port


def test_an_address_names_a_port_that_the_system_gives_to_no_connection():
    host, _, port = free_address().rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) < 32_768


def test_ports_are_different_and_who_asks_for_more_than_there_are_is_told():
    with socket.create_server(("127.0.0.1", free_ports(1)[0])):
        assert len(set(free_ports(150))) == 150
        with pytest.raises(RuntimeError, match="of 200 ports are free, not 200"):
            free_ports(200)

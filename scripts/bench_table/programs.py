"""The list of benchmarks: which program, with which arguments, against which listener."""

from dataclasses import dataclass
from enum import Enum


class Needs(Enum):
    """What a program is given: nothing, or the address of a listener of a fresh node."""

    NOTHING = ""
    TEXT = "text"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Program:
    """One benchmark, by the name that ``scripts/bench`` takes."""

    name: str
    file: str
    arguments: tuple[str, ...] = ()
    needs: Needs = Needs.NOTHING
    waiting: int = 0  # tasks in the node before it begins
    nodes: int = 1
    is_long: bool = False  # then it is run once, whatever --runs says


FILLING = "fill.py"
FILLING_VALUE_BYTES = 64
MANY = 1_000_000
SPREAD = ("--connections", "6")  # two on each of three nodes

PROGRAMS = (
    Program("disk", "disk_sync.py"),
    Program("core", "core_apply.py"),
    Program("raft", "raft_backend.py"),
    Program("text-1", "text_client.py", ("--in-flight", "1"), Needs.TEXT),
    Program("text-64", "text_client.py", ("--in-flight", "64"), Needs.TEXT),
    Program("text-1024", "text_client.py", ("--in-flight", "1024"), Needs.TEXT),
    Program("text-64-full", "text_client.py", ("--in-flight", "64"), Needs.TEXT, MANY),
    Program("text-1024-full", "text_client.py", ("--in-flight", "1024"), Needs.TEXT, MANY),
    Program("http-1", "http_client.py", ("--connections", "1"), Needs.HTTP),
    Program("http-32", "http_client.py", ("--connections", "32"), Needs.HTTP),
    Program("http-batch", "http_client.py", ("--connections", "8", "--batch", "100"), Needs.HTTP),
    Program("three-1", "text_client.py", ("--in-flight", "1"), Needs.TEXT, nodes=3),
    Program("three-64", "text_client.py", ("--in-flight", "64", *SPREAD), Needs.TEXT, nodes=3),
    Program("three-1024", "text_client.py", ("--in-flight", "1024", *SPREAD), Needs.TEXT, nodes=3),
    Program(
        "three-64-full", "text_client.py", ("--in-flight", "64", *SPREAD), Needs.TEXT, MANY, nodes=3
    ),
    Program(
        "three-1024-full",
        "text_client.py",
        ("--in-flight", "1024", *SPREAD),
        Needs.TEXT,
        MANY,
        nodes=3,
    ),
    Program("three-http-32", "http_client.py", ("--connections", "33"), Needs.HTTP, nodes=3),
    Program(
        "three-http-batch",
        "http_client.py",
        ("--connections", "9", "--batch", "100"),
        Needs.HTTP,
        nodes=3,
    ),
    Program("three-wait", "long_poll.py"),
    Program("three-failover", "failover.py"),
    Program("five-failover", "failover.py", ("--nodes", "5")),
    Program("three-silent", "failover.py", ("--silent",)),
    Program("five-silent", "failover.py", ("--nodes", "5", "--silent")),
    Program("million", "million.py", is_long=True),
    Program("moving", "moving.py", is_long=True),
    Program("postgres", "postgres.py", is_long=True),
)

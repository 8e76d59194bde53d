"""The rules of the house that no linter knows: sizes, names, who may import what, what lies where."""

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE_ROOTS: Final = ("client", "cluster", "scripts", "tests")
MODULE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 50
VAGUE_NAMES: Final = frozenset(
    f"{name}{plural}"
    for name in ("util", "helper", "common", "manager", "misc")
    for plural in ("", "s")
)
# Foreign libraries that stay behind one door: the folders that may import them.
DOORS: Final = {
    "pysyncobj": ("cluster/raftq_cluster/backends/raft",),
    "asyncpg": ("cluster/raftq_cluster/backends/postgres",),
    "aiohttp": ("client/raftq/transport", "cluster/raftq_cluster/servers/http"),
}
PACKAGES_WITH_A_DESIGN: Final = (
    "client/raftq",
    "client/raftq/cli",
    "client/raftq/worker",
    "cluster",
    "cluster/raftq_cluster/backends",
    "cluster/raftq_cluster/backends/postgres",
    "cluster/raftq_cluster/backends/raft",
    "cluster/raftq_cluster/codec",
    "cluster/raftq_cluster/core",
    "cluster/raftq_cluster/servers/http",
    "cluster/raftq_cluster/servers/text",
    "cluster/raftq_cluster/service",
)
# Directories that no clone has, or that tools fill.
NOT_OURS: Final = frozenset({"__pycache__", "node_modules", "build", "dist"})
TEXT_SUFFIXES: Final = frozenset(
    {"", ".md", ".py", ".toml", ".txt", ".yml", ".yaml", ".json", ".sh", ".sql", ".js", ".html"}
)
MACHINE_PATHS: Final = re.compile(r"(?<![\w.$}{~-])/(?:work|root|home|Users|farm)/\w")
LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
UNFINISHED: Final = re.compile(
    r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error)\b|mark\.(?:sk" r"ip|xf" r"ail)\b"
)


def files() -> Iterator[Path]:
    """Every file of the checkout that is written by hand, relative to the root."""
    for folder, folders, names in os.walk(ROOT):
        inside = folder != str(ROOT)
        folders[:] = [
            name
            for name in folders
            if name not in NOT_OURS
            and not name.endswith(".egg-info")
            and (not name.startswith(".") or (not inside and name in {".ci", ".github"}))
        ]
        for name in names:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(ROOT)


def modules() -> list[Path]:
    return sorted(
        path for path in files() if path.suffix == ".py" and path.parts[0] in SOURCE_ROOTS
    )


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported_modules(path: Path) -> set[str]:
    """Modules that a module imports from, at its head or late."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def imported_names(path: Path) -> set[str]:
    """Top-level packages that a module imports."""
    return {name.partition(".")[0] for name in imported_modules(path)}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, the docstring not counted."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        said = function.body[0]
        lines -= (said.end_lineno or said.lineno) - said.lineno + 1
    return lines


def test_there_is_something_to_check() -> None:
    assert len(modules()) > 20


def test_modules_stay_short() -> None:
    lines = {str(path): (ROOT / path).read_text("utf-8").count("\n") for path in modules()}
    assert {path: count for path, count in lines.items() if count > MODULE_LINES_MAX} == {}


def test_functions_stay_short() -> None:
    long = [
        f"{path}:{node.lineno} {node.name} has {body_lines(node)} lines"
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and body_lines(node) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_no_file_or_folder_has_a_vague_name() -> None:
    vague = {
        str(path)
        for path in modules()
        if not path.name.startswith("test_")  # named after what they test, "service manager" say
        for part in path.parts
        for word in part.removesuffix(".py").split("_")
        if word in VAGUE_NAMES
    }
    assert vague == set()


@pytest.mark.parametrize("library", DOORS)
def test_a_foreign_library_is_imported_behind_its_door_only(library: str) -> None:
    importers = {
        path.parent.as_posix()
        for path in modules()
        if path.parts[0] in {"client", "cluster"} and library in imported_names(path)
    }
    assert importers <= set(DOORS[library])


def test_of_the_client_the_node_imports_the_wire_contract_alone() -> None:
    imports = {
        f"{path}: {name}"
        for path in modules()
        if path.parts[0] == "cluster"
        for name in imported_modules(path)
        if name.partition(".")[0] == "raftq" and not f"{name}.".startswith("raftq.wire.")
    }
    assert imports == set()


def test_one_module_imports_the_consensus_library() -> None:
    importers = [
        path
        for path in modules()
        if path.parts[0] in {"client", "cluster"} and "pysyncobj" in imported_names(path)
    ]
    assert len(importers) == 1


def test_nothing_names_a_place_of_one_machine() -> None:
    found = []
    for path in files():
        if path.suffix in TEXT_SUFFIXES:
            text = (ROOT / path).read_text("utf-8", errors="replace")  # vectors hold odd bytes
            found += [f"{path}: {match[0]}…" for match in MACHINE_PATHS.finditer(text)]
    assert found == []


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{path}: {match[0]}"
        for path in modules()
        for match in UNFINISHED.finditer((ROOT / path).read_text("utf-8"))
    ]
    assert found == []


def test_every_module_says_what_it_is_responsible_for() -> None:
    silent = [
        str(path)
        for path in modules()
        if path.name != "__init__.py" and not ast.get_docstring(tree(path))
    ]
    assert silent == []


@pytest.mark.parametrize("package", PACKAGES_WITH_A_DESIGN)
def test_a_package_explains_its_design(package: str) -> None:
    design = ROOT / package / "DESIGN.md"
    assert design.is_file()
    assert len(design.read_text("utf-8").split()) > 50


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in files():
        if path.suffix == ".md":
            for link in LINK.findall((ROOT / path).read_text("utf-8")):
                target = link.partition("#")[0]
                if target and "://" not in target and not (ROOT / path.parent / target).exists():
                    broken.append(f"{path}: {link}")
    assert broken == []


def test_test_modules_have_names_of_their_own() -> None:
    names = [path.name for path in modules() if path.name.startswith("test_")]
    assert sorted(set(names)) == sorted(names)


def test_unit_tests_do_not_sleep() -> None:
    sleepers = []
    for path in modules():
        if path.parts[:2] != ("tests", "unit"):
            continue
        sleepers += [
            f"{path}:{call.lineno}"
            for call in ast.walk(tree(path))
            if isinstance(call, ast.Call)
            and ast.unparse(call.func) in {"time.sleep", "asyncio.sleep"}
            and ast.unparse(call.args[0]) != "0"
        ]
    assert sleepers == []


def test_scripts_can_be_run() -> None:
    scripts = [
        path for path in files() if path.parent.name in {"scripts", ".ci"} and not path.suffix
    ]
    assert {path.name for path in scripts} >= {"run", "test", "check", "bench", "lint", "venv"}
    assert [str(path) for path in scripts if not os.access(ROOT / path, os.X_OK)] == []

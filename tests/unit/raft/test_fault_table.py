"""The table of the library's faults in the Raft backend's ``DESIGN.md``: whole, and true of the tests."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
DESIGN = REPOSITORY / "cluster/raftq_cluster/backends/raft/DESIGN.md"
FAULTS = {"P": 12, "D": 7, "A": 9, "S": 7, "F": 8}


def rows():
    text = DESIGN.read_text()
    table = text[text.index("## The library's faults") :]
    found = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for letter, first, last in re.findall(r"([PDASF])(\d+)(?: to [PDASF](\d+))?", cells[0]):
            for number in range(int(first), int(last or first) + 1):
                found[f"{letter}{number}"] = cells[-1]
    return found


def test_every_fault_has_a_row():
    wanted = [
        f"{letter}{number + 1}" for letter, count in FAULTS.items() for number in range(count)
    ]
    assert [fault for fault in wanted if fault not in rows()] == []


def test_every_row_names_a_test_or_a_construction():
    bare = [fault for fault, cell in rows().items()
            if "test_" not in cell and "by construction" not in cell and "as D2" not in cell]  # fmt: skip
    assert bare == []


def test_the_tests_that_are_named_exist():
    files = list((REPOSITORY / "tests").rglob("test_*.py"))
    names = {path.name for path in files}
    for path in files:
        names |= set(re.findall(r"def (test_\w+)", path.read_text()))
    named = {name for cell in rows().values() for name in re.findall(r"`(test_[\w.]+)`", cell)}
    assert sorted(named - names) == []


def test_every_fault_that_is_said_to_be_shown_on_the_stock_library_is():
    shown = set()
    for path in Path(__file__).parent.glob("test_stock_library_*.py"):
        for name in re.findall(r"def test_((?:[pdasf]\d+_)+)", path.read_text()):
            shown |= {part.upper() for part in name.strip("_").split("_")}
    said = {fault for fault, cell in rows().items() if cell.startswith("stock")}
    assert sorted(said - shown - {"S2", "S3", "S4", "S6"}) == []  # of one transport, never made
    assert sorted(shown - said) == []

"""The demo's own work: counting, merging, finding files."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from demo.counting import (
    Partial,
    count_here,
    identifiers,
    merge,
    sources,
    standard_library,
    top,
)


def source(folder: Path, name: str, text: bytes) -> Path:
    path = folder / name
    path.write_bytes(text)
    return path


def test_names_are_counted_and_keywords_comments_and_strings_are_not(tmp_path: Path) -> None:
    path = source(tmp_path, "a.py", b"for x in x.y:  # x\n    print('x', x)\n")
    assert identifiers(path) == Counter(x=3, y=1, print=1)


def test_a_file_is_read_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    path = source(tmp_path, "a.py", "# coding: latin-1\nä = ä\n".encode("latin-1"))
    assert identifiers(path) == Counter({"ä": 2})


def test_bytes_that_cannot_be_decoded_are_refused(tmp_path: Path) -> None:
    path = source(tmp_path, "a.py", b"x = 1\ny = '\xff'\n")
    with pytest.raises((SyntaxError, UnicodeDecodeError)):
        identifiers(path)


def test_merging_adds_every_number_whatever_the_order() -> None:
    one = Partial(files=1, lost_leases=1, counts={"a": 1, "b": 2})
    two = Partial(files=2, merges=1, counts={"b": 3, "c": 4})
    three = Partial(files=4, lost_leases=2, counts={"a": 5})
    whole = Partial(files=7, merges=2, lost_leases=3, counts={"a": 6, "b": 5, "c": 4})
    assert merge([one, two, three]) == merge([three, one, two]) == whole


def test_a_tree_of_merges_counts_as_one_merge_does() -> None:
    parts = [Partial(files=1, counts={"a": n, f"b{n}": 1}) for n in range(5)]
    tree = merge([merge(parts[:2]), merge(parts[2:])])
    assert (tree.files, tree.counts) == (5, merge(parts).counts)
    assert tree.merges == 3


def test_a_partial_result_survives_its_way_through_a_value() -> None:
    partial = Partial(files=3, lost_leases=1, counts={"a": 1, "ä": 2})
    assert msgspec.json.decode(msgspec.json.encode(partial), type=Partial) == partial


def test_the_single_process_count_covers_every_file(tmp_path: Path) -> None:
    paths = [source(tmp_path, "a.py", b"a = b\n"), source(tmp_path, "b.py", b"b = c\n")]
    assert count_here(paths) == {"a": 1, "b": 2, "c": 1}


def test_the_top_is_sorted_by_count_then_name() -> None:
    assert top({"c": 1, "b": 2, "a": 1, "d": 3}, 3) == [("d", 3), ("b", 2), ("a", 1)]


def test_sources_are_found_in_every_folder_that_is_not_left_out(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "a.txt", "deep/er/c.py", "test/d.py", "x/site-packages/e.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert sources(tmp_path) == [tmp_path / name for name in ("a.py", "b.py", "deep/er/c.py")]


def test_the_standard_library_is_found() -> None:
    names = {path.name for path in standard_library()}
    assert {"tokenize.py", "abc.py", "argparse.py"} <= names

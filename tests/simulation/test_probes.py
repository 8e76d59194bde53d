"""What a node's disk was seen to hold is compared with what the node finds there when it starts."""

from dataclasses import dataclass

from tests.simulation.probes import Written


@dataclass
class Journal:
    """A log as a process has opened it: ``terms`` are those of the entries behind its base."""

    base_index: int
    terms: tuple[int, ...]

    @property
    def last_index(self) -> int:
        return self.base_index + len(self.terms)

    def term_at(self, index: int) -> int:
        return self.terms[index - self.base_index - 1]


def three_synced_and_one_not() -> Written:
    written = Written()
    for index in (1, 2, 3):
        written.append(index, 1)
    written.begin_sync()
    written.append(4, 1)
    written.end_sync(None)
    return written


def test_what_was_not_synced_may_be_gone() -> None:
    assert three_synced_and_one_not().lacks(Journal(0, (1, 1, 1))) == 0
    assert three_synced_and_one_not().lacks(Journal(0, (1, 1, 1, 1))) == 0


def test_what_was_synced_may_not_be_gone_nor_another_entry() -> None:
    assert three_synced_and_one_not().lacks(Journal(0, (1, 1))) == 3
    assert three_synced_and_one_not().lacks(Journal(0, (1, 2, 1))) == 2


def test_what_a_snapshot_stands_for_may_be_gone() -> None:
    assert three_synced_and_one_not().lacks(Journal(3, ())) == 0
    assert three_synced_and_one_not().lacks(Journal(2, ())) == 3

"""Reading a damaged log: a torn tail is cut, anything else that is missing stops the node."""

from pathlib import Path

import pytest
from tests.support.virtual_disk import Loss, VirtualDisk

from raftq_cluster.backends.raft.storage.errors import CorruptError, ForeignError
from raftq_cluster.backends.raft.storage.journal import Journal
from raftq_cluster.backends.raft.storage.numbers import WriteNumbers
from raftq_cluster.backends.raft.storage.records import (
    END,
    ENTRY,
    MARK,
    MARK_BYTES,
    RECORD_HEADER_BYTES,
    SECTOR_BYTES,
    SEGMENT_HEADER_BYTES,
    Position,
    SegmentHeader,
    pack_header,
    pack_mark,
    pack_record,
    segment_seed,
)
from raftq_cluster.backends.raft.storage.segments import Place, segment_name, segment_numbers

DIRECTORY = Path("/journal")
IDENTITY = b"c1/n1"
SEGMENT_BYTES = 4096
ENTRY_SIZE = 700
RECORD_BYTES = RECORD_HEADER_BYTES + ENTRY_SIZE
BATCH_BYTES = MARK_BYTES + RECORD_BYTES


def open_journal(
    disk: VirtualDisk, *, may_start: bool = True, identity: bytes = IDENTITY
) -> Journal:
    disk.make_directory(DIRECTORY)
    return Journal.open(
        Place(disk, DIRECTORY, identity),
        WriteNumbers(),
        may_start=may_start,
        segment_bytes=SEGMENT_BYTES,
    )


def sync(disk: VirtualDisk, journal: Journal) -> None:
    files, directories = journal.begin_sync()
    for file in files:
        file.sync_data()
    for directory in directories:
        disk.sync_directory(directory)
    journal.end_sync(1 << 60)


def path(number: int) -> Path:
    return DIRECTORY / segment_name(number)


def batch(n: int) -> int:
    """Offset in its segment of the n-th batch of one entry (from 0)."""
    return SEGMENT_HEADER_BYTES + n % 5 * BATCH_BYTES


def entry(n: int) -> bytes:
    return b"%d." % n * ENTRY_SIZE


def written(entries: int, *, synced: int, marked: bool = False) -> VirtualDisk:
    """A disk after a crash in which nothing was lost; five entries fill a segment."""
    disk = VirtualDisk()
    journal = open_journal(disk)
    for n in range(entries):
        journal.append(1, entry(n)[:ENTRY_SIZE])
        journal.flush()
        if n < synced:
            sync(disk, journal)
    if marked:
        journal.mark()
        sync(disk, journal)
    disk.kill()
    return disk


def zero(disk: VirtualDisk, number: int, start: int, stop: int) -> None:
    """Lose a part of a segment that was not written back."""
    data = disk.content(path(number))
    disk.replace(path(number), data[:start] + bytes(stop - start) + data[stop:])


def spoil(disk: VirtualDisk, number: int, offset: int) -> None:
    disk.flip(path(number), 8 * offset + 3)


# --- a tail that was never synced ----------------------------------------------------------------------


def test_a_torn_batch_is_cut_off() -> None:
    disk = written(3, synced=2)
    zero(disk, 1, batch(2), SEGMENT_BYTES)
    assert open_journal(disk).last_index == 2


def test_of_a_torn_batch_the_records_before_the_tear_are_kept() -> None:
    disk = VirtualDisk()
    journal = open_journal(disk)
    for n in range(4):
        journal.append(1, entry(n)[:ENTRY_SIZE])
    journal.flush()
    disk.kill()
    torn_sector = 3 * SECTOR_BYTES  # within the second entry
    zero(disk, 1, torn_sector, torn_sector + SECTOR_BYTES)
    assert open_journal(disk).last_index == 1


def test_an_unsynced_batch_may_be_lost_although_a_later_one_is_there() -> None:
    disk = written(4, synced=2)
    zero(disk, 1, batch(2), batch(3))
    journal = open_journal(disk)
    assert journal.last_index == 2


def test_what_lay_behind_the_cut_never_comes_back() -> None:
    disk = written(4, synced=2)
    zero(disk, 1, batch(2), batch(3))
    journal = open_journal(disk)
    journal.append(2, b"n" * ENTRY_SIZE)  # ends exactly where the lost batch ended
    sync(disk, journal)
    disk.cut_power(Loss.EVERYTHING)
    journal = open_journal(disk)
    assert (journal.last_index, journal.entry(3)) == (3, (2, b"n" * ENTRY_SIZE))


def test_segments_behind_the_cut_are_removed() -> None:
    disk = written(12, synced=2)
    zero(disk, 1, batch(3), batch(4))
    journal = open_journal(disk)
    assert journal.last_index == 3
    assert disk.paths() == [path(1)]
    for n in range(9):
        journal.append(2, entry(n)[:ENTRY_SIZE])
    sync(disk, journal)
    disk.cut_power(Loss.EVERYTHING)
    assert open_journal(disk).last_index == 12


def test_a_last_batch_that_is_lost_without_a_trace_cuts_the_segment_behind_it_too() -> None:
    disk = written(7, synced=2)
    zero(disk, 1, batch(4), SEGMENT_BYTES)
    assert open_journal(disk).last_index == 4
    assert disk.paths() == [path(1)]


@pytest.mark.parametrize("size", [0, 10, SEGMENT_HEADER_BYTES, SEGMENT_BYTES])
def test_a_newest_segment_that_was_never_written_counts_for_nothing(size: int) -> None:
    disk = written(5, synced=5, marked=False)
    disk.replace(path(2), bytes(size))
    journal = open_journal(disk)
    assert journal.last_index == 5
    assert disk.paths() == [path(1)]


def test_a_missing_segment_that_was_never_synced_ends_the_log() -> None:
    disk = written(12, synced=4)
    disk.remove(path(2))
    assert open_journal(disk).last_index == 5
    assert disk.paths() == [path(1)]


def test_a_first_segment_that_was_never_written_starts_the_log_anew() -> None:
    disk = VirtualDisk()
    open_journal(disk)
    disk.kill()
    disk.replace(path(1), b"")
    journal = open_journal(disk)
    assert journal.append(1, b"a") == 1


# --- what was on disk --------------------------------------------------------------------------------


def test_zeros_in_what_a_later_batch_knows_to_be_synced_are_corruption() -> None:
    disk = written(4, synced=4)
    zero(disk, 1, batch(2), batch(3))
    with pytest.raises(CorruptError, match="records that were on disk are gone") as corrupt:
        open_journal(disk)
    assert (corrupt.value.path, corrupt.value.offset) == (path(1), batch(2))


def test_a_last_segment_emptied_by_zeros_is_corruption_when_it_is_noted_as_synced() -> None:
    disk = written(4, synced=4, marked=True)
    zero(disk, 1, batch(0), batch(4))
    with pytest.raises(CorruptError):
        open_journal(disk)


def test_a_missing_segment_that_was_synced_is_corruption() -> None:
    disk = written(12, synced=12)
    disk.remove(path(2))
    with pytest.raises(CorruptError, match="the segment is missing") as corrupt:
        open_journal(disk)
    assert corrupt.value.path == path(2)


def test_a_missing_first_segment_is_corruption() -> None:
    disk = written(7, synced=7)
    disk.remove(path(1))
    with pytest.raises(CorruptError, match="the segment is missing"):
        open_journal(disk)


@pytest.mark.parametrize("size", [0, 20, SEGMENT_HEADER_BYTES])
def test_a_synced_segment_cut_short_is_corruption(size: int) -> None:
    disk = written(12, synced=12)
    disk.replace(path(2), disk.content(path(2))[:size])
    with pytest.raises(CorruptError):
        open_journal(disk)


def test_a_zeroed_header_of_a_synced_segment_is_corruption() -> None:
    disk = written(12, synced=12)
    zero(disk, 2, 0, SEGMENT_HEADER_BYTES)
    with pytest.raises(CorruptError, match="header is gone") as corrupt:
        open_journal(disk)
    assert corrupt.value.path == path(2)


@pytest.mark.parametrize("n", range(5))
def test_a_flipped_bit_in_a_sync_that_nothing_tells_of_is_no_torn_write(n: int) -> None:
    disk = written(5, synced=5)
    for offset in range(batch(n), batch(n) + BATCH_BYTES, 53):
        spoil(disk, 1, offset)
        with pytest.raises(CorruptError, match=r"0001\.log: corrupt at byte"):
            open_journal(disk)
        spoil(disk, 1, offset)
    assert open_journal(disk).last_index == 5


def test_a_flipped_bit_in_a_header_is_corruption() -> None:
    disk = written(1, synced=1)
    for offset in range(SEGMENT_HEADER_BYTES):
        spoil(disk, 1, offset)
        with pytest.raises(CorruptError) as corrupt:
            open_journal(disk)
        assert corrupt.value.offset == 0
        spoil(disk, 1, offset)


def test_an_old_copy_of_a_segment_is_corruption() -> None:
    disk = written(3, synced=3)
    old = disk.content(path(1))
    journal = open_journal(disk)
    for n in range(3, 9):
        journal.append(1, entry(n)[:ENTRY_SIZE])
        sync(disk, journal)
    disk.kill()
    disk.replace(path(1), old)
    with pytest.raises(CorruptError):
        open_journal(disk)


def test_a_segment_of_another_node_is_corruption() -> None:
    disk = written(3, synced=3)
    disk.kill()
    with pytest.raises(CorruptError):
        open_journal(disk, identity=b"c1/n2")


def test_a_log_that_is_gone_is_corruption_where_there_must_be_one() -> None:
    with pytest.raises(CorruptError, match="the log is gone"):
        open_journal(VirtualDisk(), may_start=False)


def test_files_that_are_no_segments_are_left_alone() -> None:
    disk = written(2, synced=2)
    disk.replace(DIRECTORY / "notes.txt", b"hello")
    disk.replace(DIRECTORY / "12.log", b"hello")
    assert open_journal(disk).last_index == 2
    assert len(disk.paths()) == 3


def test_segment_names_sort_as_their_numbers() -> None:
    names = sorted(segment_name(n) for n in (10, 9, 100))
    assert segment_numbers(names) == [9, 10, 100]


# --- records that cannot follow each other -----------------------------------------------------------


def built(*records: tuple[int, int, int, bytes], number: int = 1, end: int = 0) -> bytes:
    """A whole and undamaged segment of these records."""
    seed = segment_seed(IDENTITY, number)
    data = pack_header(SegmentHeader(number, 0, 0, end), seed)
    data += pack_mark(Position(0, 0), 1, seed ^ len(data))
    for kind, index, term, body in records:
        data += pack_record(kind, index, term, body, seed ^ len(data)) + body
    return data


@pytest.mark.parametrize(
    "records",
    [
        [(ENTRY, 2, 1, b"a")],
        [(ENTRY, 1, 1, b"a"), (ENTRY, 3, 1, b"a")],
        [(END, 1, 1, b"")],
        [(ENTRY, 1, 1, b"a"), (END, 1, 2, b"")],
        [(9, 1, 1, b"a")],
        [(MARK, 1, 44, b"less")],
    ],
)
def test_good_records_that_do_not_fit_the_log_are_corruption(
    records: list[tuple[int, int, int, bytes]],
) -> None:
    disk = VirtualDisk()
    open_journal(disk)
    disk.kill()
    disk.replace(path(1), built(*records))
    with pytest.raises(CorruptError, match="does not fit the log"):
        open_journal(disk)


def test_a_segment_that_does_not_continue_the_one_before_is_corruption() -> None:
    disk = VirtualDisk()
    open_journal(disk)
    disk.kill()
    first = built((ENTRY, 1, 1, b"a"))
    disk.replace(path(1), first)
    disk.replace(path(2), built((ENTRY, 1, 1, b"a"), number=2, end=len(first)))
    with pytest.raises(CorruptError, match="does not continue"):
        open_journal(disk)


def test_records_behind_the_end_that_the_next_segment_tells_are_corruption() -> None:
    disk = VirtualDisk()
    open_journal(disk)
    disk.kill()
    first = built((ENTRY, 1, 1, b"a"))
    disk.replace(path(1), first)
    disk.replace(path(2), built(number=2, end=len(first) - 1))
    with pytest.raises(CorruptError, match="records behind the end"):
        open_journal(disk)


def test_a_newer_versions_segment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = VirtualDisk()
    monkeypatch.setattr("raftq_cluster.backends.raft.storage.records.VERSION", 2)
    open_journal(disk)
    disk.kill()
    with pytest.raises(ForeignError, match="has format 2, this node reads format 1"):
        open_journal(disk)


# --- a crash while recovering ------------------------------------------------------------------------


def crash_while_opening(disk: VirtualDisk, call: str, loss: Loss) -> None:
    """Cut the power at the first such call of a recovery."""

    class Cut(BaseException):
        pass

    def cut(name: str, _path: Path) -> None:
        if name == call:
            raise Cut

    disk.before_call = cut
    with pytest.raises(Cut):
        open_journal(disk)
    disk.before_call = VirtualDisk().before_call
    disk.cut_power(loss)


def test_what_makes_a_segment_superfluous_is_on_disk_before_the_segment_is_removed() -> None:
    disk = written(12, synced=12)
    journal = open_journal(disk)
    journal.drop_before(7)
    journal.flush()  # the floor is written and not synced
    disk.kill()
    seen: list[str] = []
    disk.before_call = lambda call, _path: seen.append(call)
    assert open_journal(disk).base_index == 5
    assert seen.index("unlink") > seen.index("sync")
    assert seen[seen.index("unlink") - 1] == "sync_directory"


RECOVERY_CALLS: list[str] = ["truncate", "sync", "allocate", "unlink", "sync_directory"]


@pytest.mark.parametrize("call", RECOVERY_CALLS)
@pytest.mark.parametrize("loss", list(Loss))
def test_a_recovery_that_is_cut_off_can_be_repeated(call: str, loss: Loss) -> None:
    disk = written(12, synced=2)
    zero(disk, 1, batch(3), batch(4))
    crash_while_opening(disk, call, loss)
    assert open_journal(disk).last_index == 3

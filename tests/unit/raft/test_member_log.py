"""The log as it follows member lists and formats: in force when appended, back when cut, refused when too new."""

import pytest
from tests.support.held_disk import HeldDisk

from raftq_cluster.backends.raft.commands import (
    FormatTooNewError,
    Member,
    config_command,
    format_command,
)
from raftq_cluster.backends.raft.member_log import MemberLog

ME = (Member("n1", "", True),)
TWO = (*ME, Member("n2", "n2:1", True))
NOOP = b"\x01"


def watch(disk, reads=3):
    return MemberLog(disk, ME, lambda: None, reads=reads)


@pytest.fixture
def disk():
    return HeldDisk()


def test_a_format_is_in_force_as_soon_as_it_is_appended(disk):
    log = watch(disk)
    log.append(1, NOOP)
    assert log.log_format == 1
    log.append(1, format_command(2))
    assert log.log_format == 2
    assert watch(disk).log_format == 2


def test_a_format_that_is_cut_is_not_in_force_any_more(disk):
    log = watch(disk)
    first = log.append(1, format_command(2))
    second = log.append(1, format_command(3))
    log.truncate_from(second)
    assert log.log_format == 2
    log.truncate_from(first)
    assert log.log_format == 1


def test_a_format_never_falls_back(disk):
    log = watch(disk)
    log.append(1, format_command(3))
    log.append(1, format_command(2))
    assert log.log_format == 3


def test_a_format_that_is_too_new_is_not_taken_into_the_log(disk):
    log = watch(disk, reads=1)
    with pytest.raises(
        FormatTooNewError, match="format 2, and this version of raftq reads formats up to 1"
    ):
        log.append(1, format_command(2))
    assert (log.last_index, log.log_format) == (0, 1)


def test_a_log_in_a_format_that_is_too_new_is_not_watched(disk):
    watch(disk).append(1, format_command(2))
    with pytest.raises(FormatTooNewError):
        watch(disk, reads=1)


def test_a_snapshot_brings_its_format_and_keeps_a_later_one(disk):
    log = watch(disk)
    for command in (NOOP, NOOP, format_command(3)):
        log.append(1, command)
    log.reset(2, ME, 2)
    assert log.log_format == 3
    log.truncate_from(3)
    assert log.log_format == 2


def test_what_is_forgotten_of_the_past_changes_nothing(disk):
    log = watch(disk)
    for command in (format_command(2), NOOP, format_command(3), NOOP):
        log.append(1, command)
    log.forget_before(3)
    assert log.log_format == 3
    log.truncate_from(4)
    assert log.log_format == 3


def test_lists_that_a_cut_may_put_in_force_again_are_told_until_the_last_one_is_applied(disk):
    told = []
    log = MemberLog(disk, TWO, lambda: told.append([listed.entry for listed in log.lists]))
    log.append(1, NOOP)
    log.append(1, config_command(ME))
    assert [listed.members for listed in log.lists] == [TWO, ME]
    log.forget_before(1)
    log.forget_before(2)
    assert [listed.members for listed in log.lists] == [ME]
    assert told == [[0, 2], [2]]

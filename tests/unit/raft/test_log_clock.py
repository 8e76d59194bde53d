"""Log time under clocks that jump, stop and disagree."""

import itertools

import pytest

from raftq_cluster.backends.raft.log_clock import SLEW_DIVISOR, LogClock

MS = 1_000_000
EPOCH_MS = 1_700_000_000_000


class Hands:
    """A wall clock and a monotonic clock that a test moves."""

    def __init__(self):
        self.wall = EPOCH_MS * MS
        self.monotonic = 5_000 * MS

    def pass_ms(self, ms):
        self.wall += ms * MS
        self.monotonic += ms * MS

    def clock(self):
        return LogClock(lambda: self.wall, lambda: self.monotonic)


@pytest.fixture
def hands():
    return Hands()


def test_log_time_is_wall_time_while_nobody_touches_the_wall_clock(hands):
    clock = hands.clock()
    for _ in range(10):
        hands.pass_ms(123)
        assert clock.now_ms() == hands.wall // MS


def test_log_time_goes_on_from_the_logs_own_time_when_that_is_later(hands):
    clock = hands.clock()
    clock.advance_to(EPOCH_MS + 60_000)
    assert clock.now_ms() == EPOCH_MS + 60_000


def test_an_earlier_log_time_does_not_turn_the_clock_back(hands):
    clock = hands.clock()
    clock.advance_to(EPOCH_MS - 60_000)
    assert clock.now_ms() == EPOCH_MS


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000, 10**12, -(10**12)])
def test_a_jump_of_the_wall_clock_makes_a_lease_at_most_one_hundredth_shorter_or_longer(
    hands, jump_ms
):
    clock = hands.clock()
    start = clock.now_ms()
    hands.wall += jump_ms * MS
    hands.pass_ms(30_000)
    passed = clock.now_ms() - start
    assert abs(passed - 30_000) == 30_000 // SLEW_DIVISOR


def test_a_clock_that_is_ahead_of_the_wall_slows_down_until_they_agree(hands):
    clock = hands.clock()
    clock.advance_to(EPOCH_MS + 1_000)
    times = []
    for _ in range(110):
        hands.pass_ms(1_000)
        times.append(clock.now_ms())
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    assert times[0] == EPOCH_MS + 1_000 + 990
    assert times[-1] == hands.wall // MS


def test_a_clock_that_is_behind_the_wall_catches_up_and_does_not_overtake_it(hands):
    clock = hands.clock()
    hands.wall += 1_000 * MS
    for _ in range(110):
        hands.pass_ms(1_000)
        assert clock.now_ms() <= hands.wall // MS
    assert clock.now_ms() == hands.wall // MS


def test_time_stands_still_only_when_the_monotonic_clock_does(hands):
    clock = hands.clock()
    hands.wall += 50_000 * MS
    assert clock.now_ms() == clock.now_ms() == EPOCH_MS


def test_the_distance_from_the_wall_clock_can_be_told(hands):
    clock = hands.clock()
    clock.advance_to(EPOCH_MS + 700)
    assert clock.ahead_of_wall_ms() == 700
    hands.wall += 1_000 * MS
    assert clock.ahead_of_wall_ms() == -300


def test_real_clocks_give_the_present():
    clock = LogClock()
    first = clock.now_ms()
    assert 0 <= clock.now_ms() - first < 1_000


def test_a_follower_that_follows_the_log_for_long_and_then_leads_does_not_jump(hands):
    clock = hands.clock()
    for _ in range(50):
        hands.pass_ms(100)
        log_ms = hands.wall // MS
    clock.advance_to(log_ms)  # what another node stamped just now
    assert clock.now_ms() == log_ms


def test_a_node_that_follows_takes_the_leaders_log_time_also_when_it_is_earlier(hands):
    clock = hands.clock()
    hands.pass_ms(10)
    clock.follow((EPOCH_MS - 86_400_000) * MS, 2 * MS)
    assert clock.now_ms() == EPOCH_MS - 86_400_000


def test_what_is_within_the_uncertainty_is_not_followed(hands):
    clock = hands.clock()
    clock.follow((EPOCH_MS - 2) * MS, 2 * MS)
    assert clock.now_ms() == EPOCH_MS


def test_from_the_leaders_time_it_goes_on_evenly(hands):
    clock = hands.clock()
    clock.follow((EPOCH_MS + 86_400_000) * MS, 0)
    hands.pass_ms(30_000)
    passed_ms = clock.now_ms() - EPOCH_MS - 86_400_000
    assert 30_000 * (1 - 1 / SLEW_DIVISOR) <= passed_ms <= 30_000 * (1 + 1 / SLEW_DIVISOR)

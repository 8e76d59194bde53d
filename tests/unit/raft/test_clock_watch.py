"""What a node does about its clock, over an engine by hand."""

from types import SimpleNamespace

import pytest

from raftq_cluster.backends.raft.clock_watch import PATIENCE_S, ClockWatch
from raftq_cluster.backends.raft.log_clock import LogClock
from raftq_cluster.backends.raft.transfer import HEIR_LAG_MAX

EPOCH_NS = 1_700_000_000_000_000_000
DAY_NS = 86_400 * 10**9


class OneOfThree:
    """Node n1, which hears of n2 and n3 what a test lets them tell."""

    def __init__(self):
        self.seconds = 100.0
        self.wall_ns = EPOCH_NS
        clock = LogClock(lambda: self.wall_ns, lambda: int(self.seconds * 1e9))
        self.watch = ClockWatch("n1", clock, lambda: self.seconds, skew_ms_max=500)
        self.transfers = []
        self.lag = 0  # entries that the only heir lacks
        self.consensus = SimpleNamespace(
            leader="n2",
            voters=["n1", "n2", "n3"],
            best_heir=lambda lag_max: "n3" if self.lag <= lag_max else "",
        )
        members = [SimpleNamespace(id=id_) for id_ in self.consensus.voters]
        self.watch.engine = SimpleNamespace(
            members=members,
            consensus=self.consensus,
            is_leader=False,
            is_transferring=False,
            transfer=self.transfers.append,
        )

    def pass_s(self, seconds):
        self.seconds += seconds
        self.wall_ns += int(seconds * 1e9)

    def hear(self, **ahead_ns):
        sent_us = self.watch.tell()["sent_us"]
        for peer, ns in ahead_ns.items():
            time_us = (EPOCH_NS + int((self.seconds - 100) * 1e9) + ns) // 1_000
            told = {
                "sent_us": 1,
                "wall_us": time_us,
                "log_us": time_us,
                "heard": {"n1": (sent_us, 0)},
            }
            self.watch.hear(peer, told)
        self.watch.each_second()


@pytest.fixture
def node():
    return OneOfThree()


def test_a_node_that_has_compared_with_nobody_waits_before_it_stands(node):
    assert not node.watch.may_lead()


def test_a_node_whose_clock_is_right_may_lead(node):
    node.hear(n2=0)
    assert node.watch.may_lead()


def test_a_node_whose_clock_is_off_stands_when_nobody_has_led_for_long(node):
    node.hear(n2=DAY_NS, n3=DAY_NS)
    node.consensus.leader = ""
    assert not node.watch.may_lead()
    node.pass_s(PATIENCE_S)
    node.hear(n2=DAY_NS, n3=DAY_NS)
    assert node.watch.may_lead()
    node.consensus.leader = "n2"
    assert not node.watch.may_lead()


def test_a_leader_whose_clock_is_off_hands_over_to_one_whose_clock_is_not(node):
    node.watch.engine.is_leader = True
    node.consensus.leader = "n1"
    node.hear(n2=0, n3=0)
    assert node.transfers == []
    node.wall_ns += DAY_NS
    node.watch.each_second()
    assert node.transfers == ["n3"]


def test_a_leader_whose_clock_is_off_does_not_stop_appending_for_an_heir_that_is_far_behind(node):
    node.watch.engine.is_leader = True
    node.consensus.leader = "n1"
    node.lag = HEIR_LAG_MAX + 1
    node.hear(n2=DAY_NS, n3=DAY_NS)
    assert node.transfers == []
    node.lag = HEIR_LAG_MAX
    node.watch.each_second()
    assert node.transfers == ["n3"]


def test_a_leader_keeps_leading_where_no_majority_agrees(node):
    node.watch.engine.is_leader = True
    node.hear(n2=DAY_NS, n3=-DAY_NS)
    assert node.transfers == []
    assert node.watch.latest.state_of("n1") == "split"


def test_a_voter_whose_clock_is_off_is_no_fit_heir(node):
    node.hear(n2=0, n3=DAY_NS)
    assert [node.watch.fits(id_) for id_ in ("n2", "n3")] == [True, False]


def test_the_log_time_of_the_leader_is_followed_and_that_of_others_is_not(node):
    node.hear(n2=DAY_NS, n3=3 * DAY_NS)
    log_ns = node.watch._clock.now_ns()
    assert abs(log_ns - EPOCH_NS - DAY_NS) < 10**9


def test_what_is_wrong_with_the_clocks_is_logged_once(node, caplog):
    for _ in range(3):
        node.hear(n2=DAY_NS, n3=DAY_NS)
    (record,) = caplog.records
    assert "off by -86400000 ms" in record.getMessage()

"""Clocks compared: what a node can tell of the others', and who is off."""

import pytest

from raftq_cluster.backends.raft.clock_board import (
    FRESH_S,
    OFF,
    OK,
    SPLIT,
    UNKNOWN,
    ClockBoard,
    Now,
)

SKEW_MS = 500
EPOCH_US = 1_700_000_000_000_000
DAY_MS = 86_400_000


class World:
    """Nodes whose clocks differ by so many ms, and ways that take so long there and back."""

    def __init__(self, **offsets_ms):
        self.us = 5_000_000_000
        self.offsets_ms = offsets_ms
        self.boards = {id_: ClockBoard(id_, SKEW_MS) for id_ in offsets_ms}

    def now(self, id_):
        boot_us = 1_000_000 * sum(map(ord, id_))  # no two monotonic clocks agree
        wall_us = EPOCH_US + self.us + 1_000 * self.offsets_ms[id_]
        return Now(self.us + boot_us, wall_us, wall_us)

    def send(self, source, target, way_ms=1.0):
        told = self.boards[source].tell(self.now(source))
        self.us += round(way_ms * 1_000)
        return self.boards[target].hear(source, told, self.now(target))

    def exchange(self, one, other, there_ms=1.0, back_ms=1.0):
        self.send(one, other, there_ms)
        self.us += 70_000  # it answers when its turn comes
        self.send(other, one, back_ms)
        self.send(one, other, there_ms)

    def meet(self, *ids):
        ids = ids or tuple(self.boards)
        for number, one in enumerate(ids):
            for other in ids[number + 1 :]:
                self.exchange(one, other)

    def state(self, id_, of=None, voters=None):
        members = list(self.boards)
        verdict = self.boards[id_].judge(members, voters or members, self.now(id_))
        return verdict.state_of(of or id_)

    def offset_ms(self, id_, of):
        members = list(self.boards)
        return self.boards[id_].judge(members, members, self.now(id_)).offsets_ms.get(of)


def test_clocks_that_agree_are_ok_for_everyone():
    world = World(n1=0, n2=120, n3=-80)
    world.meet()
    assert {world.state(one, of=other) for one in world.boards for other in world.boards} == {OK}


@pytest.mark.parametrize("offset_ms", [DAY_MS, -DAY_MS, 2_000, -2_000, 700])
def test_a_clock_that_is_off_is_found_by_all_and_by_its_own_node(offset_ms):
    world = World(n1=0, n2=offset_ms, n3=10)
    world.meet()
    for id_ in world.boards:
        assert [world.state(id_, of=other) for other in world.boards] == [OK, OFF, OK]


def test_offsets_are_told_from_the_median_of_the_voters():
    world = World(n1=0, n2=60_000, n3=10)
    world.meet()
    for id_ in world.boards:
        assert world.offset_ms(id_, "n2") == pytest.approx(59_990, abs=3)


def test_what_a_slow_way_leaves_uncertain_is_held_against_nobody():
    world = World(n1=0, n2=900, n3=0)
    world.meet("n1", "n3")
    world.exchange("n1", "n2", there_ms=1.0, back_ms=801.0)
    world.exchange("n2", "n3", there_ms=801.0, back_ms=1.0)
    assert world.state("n1", of="n2") == OK
    world.meet("n1", "n2")
    assert world.state("n1", of="n2") == OFF


@pytest.mark.parametrize(("there_ms", "back_ms"), [(1, 1), (300, 1), (1, 300), (150, 150)])
def test_however_lopsided_a_way_is_nobody_who_is_right_is_found_off(there_ms, back_ms):
    world = World(n1=0, n2=0, n3=0)
    for one, other in (("n1", "n2"), ("n1", "n3"), ("n2", "n3")):
        world.exchange(one, other, there_ms, back_ms)
    assert [world.state(id_) for id_ in world.boards] == [OK] * 3


def test_two_clocks_of_three_that_differ_put_nobody_off():
    world = World(n1=0, n2=60_000, n3=0)
    world.meet("n1", "n2")
    assert [world.state("n1"), world.state("n2")] == [SPLIT, SPLIT]


def test_clocks_that_all_differ_put_nobody_off():
    world = World(n1=0, n2=60_000, n3=-60_000)
    world.meet()
    assert [world.state(id_) for id_ in world.boards] == [SPLIT] * 3


@pytest.mark.parametrize(
    "offsets_ms",
    [
        (0, 0, 0, 9_000, -9_000),
        (0, 400, 800, 1_200, 1_600),
        (0, 0, 0, 0, 0),
        (0, 0, 0, 5_000, 5_000),
    ],
)
def test_a_majority_is_never_off_at_once(offsets_ms):
    world = World(**{f"n{number}": ms for number, ms in enumerate(offsets_ms)})
    world.meet()
    states = [world.state(id_) for id_ in world.boards]
    assert states.count(OFF) <= 2


def test_a_minority_that_agrees_is_off_all_the_same():
    world = World(n1=0, n2=0, n3=0, n4=DAY_MS, n5=DAY_MS)
    world.meet()
    assert [world.state(id_) for id_ in world.boards] == [OK, OK, OK, OFF, OFF]


def test_who_has_not_met_a_majority_does_not_know():
    world = World(n1=0, n2=0, n3=0)
    assert world.state("n1") == UNKNOWN
    world.meet("n1", "n2")
    assert world.state("n1") == OK


def test_a_node_alone_needs_nobody():
    world = World(n1=0)
    assert world.state("n1") == OK


def test_a_learner_has_no_say_and_is_told_of_its_clock():
    world = World(n1=0, n2=0, n3=0, n4=DAY_MS)
    world.meet()
    assert world.state("n1", of="n4", voters=["n1", "n2", "n3"]) == OFF
    assert world.state("n4", voters=["n1", "n2", "n3"]) == OFF


def test_what_is_not_heard_again_is_not_known_any_more():
    world = World(n1=0, n2=0)
    world.meet()
    world.us += round(FRESH_S * 1e6) + 1_000_000
    assert world.state("n1") == UNKNOWN


def test_a_jump_of_ones_own_clock_is_known_at_once():
    world = World(n1=0, n2=0, n3=0)
    world.meet()
    world.offsets_ms["n1"] = DAY_MS
    assert world.state("n1") == OFF


def test_who_is_heard_for_the_first_time_is_answered_at_once_and_only_once():
    world = World(n1=0, n2=0)
    assert world.send("n1", "n2")
    assert world.send("n2", "n1")
    assert not world.send("n1", "n2")
    assert [world.state("n1"), world.state("n2")] == [OK, OK]


def test_what_was_told_to_an_earlier_process_is_no_answer():
    world = World(n1=0, n2=DAY_MS)
    world.send("n1", "n2")
    world.us += 1_000
    world.boards["n1"] = ClockBoard("n1", SKEW_MS)
    world.boards["n1"].tell(world.now("n1"))
    world.send("n2", "n1")
    assert world.offset_ms("n1", "n2") is None


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {"sent_us": 1},
        {"sent_us": "x", "wall_us": 1, "log_us": 1},
        {"sent_us": 1, "wall_us": 1, "log_us": 1, "heard": {"n1": 7}},
        {"sent_us": 1, "wall_us": 1, "log_us": 1, "heard": {"n1": (True, "x")}},
        {"sent_us": 1, "wall_us": 1, "log_us": 1, "heard": {"n1": (2**64, -1)}},
    ],
)
def test_what_is_of_another_shape_tells_nothing(told):
    world = World(n1=0, n2=0)
    world.boards["n1"].tell(world.now("n1"))
    world.boards["n1"].hear("n2", told, world.now("n1"))
    assert world.state("n1") == UNKNOWN

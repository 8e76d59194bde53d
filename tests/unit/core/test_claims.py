"""Claims: what is taken, by whom, for how long, and how fairly. Cases 1-6, 13, 29, 30 of EntroQ's."""

from collections import Counter

import pytest
from tests.support.task_table import LEASE_MS, TaskTable, change, claim, modify, renew, target

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed, LostTask, Renewed


def test_a_claim_of_an_unknown_queue_finds_nothing() -> None:
    assert TaskTable().claim("/a") == ()


def test_a_claim_takes_the_arrived_task_and_not_the_delayed_one() -> None:
    table = TaskTable()
    table.insert("/a", arrival=op.DELAY, ms=2_000)
    now = table.insert("/a", value=b"1")
    assert table.claim("/a", limit=5) == (
        now._replace(
            version=1, claims=1, claimant="w1", at=table.now_ms + LEASE_MS, modified=table.now_ms
        ),
    )


def test_a_claim_finds_nothing_while_all_tasks_are_delayed_or_held() -> None:
    table = TaskTable()
    table.insert("/a", arrival=op.DELAY, ms=2_000)
    table.insert("/a")
    table.claim_one("/a")
    assert table.claim("/a") == ()


def test_a_delayed_task_can_be_claimed_at_its_very_millisecond_and_not_before() -> None:
    table = TaskTable()
    due = table.insert("/a", arrival=op.DELAY, ms=2_000)
    table.now_ms = due.at - 1
    assert table.claim("/a") == ()
    table.now_ms = due.at
    taken = table.claim_one("/a")
    assert (taken.id, taken.claims) == (due.id, 1)
    assert taken.at >= due.at


def test_a_lease_that_ran_out_makes_the_task_claimable_again() -> None:
    table = TaskTable()
    table.insert("/a")
    first = table.claim_one("/a", lease_ms=500)
    table.now_ms += 499
    assert table.claim("/a", claimant="w2") == ()
    table.now_ms += 1
    second = table.claim_one("/a", claimant="w2")
    assert (second.id, second.version, second.claims, second.claimant) == (first.id, 2, 2, "w2")


def test_time_that_goes_back_ends_no_lease_and_brings_nothing_early() -> None:
    table = TaskTable()
    table.insert("/a", arrival=op.DELAY, ms=1_000)
    table.insert("/b")
    table.pass_ms(1_000)
    held = table.claim_one("/b", lease_ms=1_000)
    table.now_ms -= 50_000
    assert table.claim_one("/a", lease_ms=1_000).at == held.at
    assert table.claim("/b") == ()


def test_a_claim_takes_no_more_than_its_limit() -> None:
    table = TaskTable()
    for _ in range(5):
        table.insert("/a")
    assert [len(table.claim("/a", limit=limit)) for limit in (3, 3, 3)] == [3, 2, 0]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_claim_of_nothing_takes_nothing(limit: int) -> None:
    table = TaskTable()
    table.insert("/a")
    assert table.claim("/a", limit=limit) == ()


def test_a_queue_named_twice_counts_once() -> None:
    table = TaskTable()
    ids = {table.insert("/a").id for _ in range(3)}
    assert {row.id for row in table.claim("/a", "/a", limit=5)} == ids


def test_a_claim_without_a_claimant_is_anonymous() -> None:
    table = TaskTable()
    table.insert("/a")
    assert table.claim_one("/a", claimant="").claimant == op.ANONYMOUS


def test_a_claim_without_a_lease_takes_the_queues_own() -> None:
    table = TaskTable()
    table.insert("/a")
    table.insert("/b")
    table.configure("/b", lease_ms=7_000)
    leases = [table.claim_one(queue, lease_ms=0).at - table.now_ms for queue in ("/a", "/b")]
    assert leases == [60_000, 7_000]


def test_a_task_with_an_id_of_the_callers_can_be_claimed() -> None:
    table = TaskTable()
    table.insert("/a", "mine")
    assert table.claim_one("/a").id == "mine"


def test_any_arrived_task_is_about_as_likely_to_be_taken_as_any_other() -> None:
    """The head of a queue cannot starve the rest."""
    table = TaskTable()
    for number in range(10):
        table.insert("/a", f"t{number}")
    taken: Counter[str] = Counter()
    for _ in range(2_000):
        row = table.claim_one("/a")
        taken[row.id] += 1
        table.change(row, arrival=op.DELAY)
    assert len(taken) == 10
    assert min(taken.values()) > 140  # of 200 expected; 4.5 standard deviations below
    assert max(taken.values()) < 260


@pytest.mark.parametrize("seed", range(10))
def test_a_short_queue_is_not_starved_by_long_ones(seed: int) -> None:
    """Tasks 300, 60 and 20: the small is empty before 1/3 of all claims, the medium before 3/4."""
    table = TaskTable(seed)
    sizes = {"/big": 300, "/medium": 60, "/small": 20}
    for queue, size in sizes.items():
        for _ in range(size):
            table.insert(queue)
    emptied: dict[str, int] = {}
    left = Counter(sizes)
    for number in range(sum(sizes.values())):
        row = table.claim_one(*sizes, claimant=f"w{number % 5}")
        left[row.queue] -= 1
        if not left[row.queue]:
            emptied[row.queue] = number + 1
        table.delete(row, claimant=f"w{number % 5}")
    assert emptied["/small"] < 380 / 3
    assert emptied["/medium"] < 380 * 3 / 4
    assert table.queues() == []


def test_a_claim_over_several_queues_takes_from_all_of_them() -> None:
    table = TaskTable()
    for queue in ("/a", "/b", "/c"):
        table.insert(queue)
    assert {row.queue for row in table.claim("/a", "/b", "/none", "/c", limit=3)} == {
        "/a",
        "/b",
        "/c",
    }


def test_each_target_of_a_renewal_stands_or_falls_alone() -> None:
    table = TaskTable()
    for id_ in ("held", "stale", "free", "others"):
        table.insert(f"/{id_}", id_)
    held, stale = table.claim_one("/held"), table.claim_one("/stale")
    others = table.claim_one("/others", claimant="w2")
    table.now_ms += 1_000
    targets = [op.Target("none", 0), target(held), op.Target("stale", stale.version + 1),
               op.Target("free", 0), target(others)]  # fmt: skip
    renewed = held._replace(version=2, at=table.now_ms + 5_000, modified=table.now_ms)
    assert table.do(renew(*targets, lease_ms=5_000)) == Renewed(
        (renewed,),
        (LostTask("none", "missing"), LostTask("stale", "version"), LostTask("free", "claimed"),
         LostTask("others", "claimed")),
    )  # fmt: skip
    assert table.task("held") == renewed


def test_a_renewal_after_the_lease_ran_out_holds_the_task_if_nobody_took_it() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", lease_ms=1_000)
    table.pass_ms(5_000)
    assert table.stats("/a").ready == 1
    (renewed,) = table.do(renew(target(held))).renewed
    assert (renewed.version, renewed.claims, renewed.at) == (2, 1, table.now_ms + LEASE_MS)
    assert table.claim("/a", claimant="w2") == ()


def test_a_renewal_after_another_claim_is_lost() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", lease_ms=1_000)
    table.pass_ms(5_000)
    table.claim_one("/a", claimant="w2")
    assert table.do(renew(target(held))).lost == (LostTask(held.id, "version"),)


def test_a_target_named_twice_is_renewed_once() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a")
    outcome = table.do(renew(target(held), target(held)))
    assert (len(outcome.renewed), outcome.lost) == (1, (LostTask(held.id, "version"),))


def test_a_renewal_without_a_claimant_renews_what_anonymous_holds() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", claimant="")
    assert len(table.do(renew(target(held), claimant="")).renewed) == 1


def test_an_entry_that_lets_time_pass_brings_tasks_in_the_order_of_their_arrival() -> None:
    """The positions of ready tasks are state: they may not depend on how tasks were kept."""
    early = TaskTable()
    late = TaskTable()
    for table in (early, late):
        for number in range(40):
            table.insert("/a", f"t{number}", arrival=op.DELAY, ms=(number * 7_919) % 5_000 + 1)
    for ms in range(5_000):
        if ms % 97 == 0:
            early.pass_ms(97)
    late.now_ms = early.now_ms
    late.machine.apply(early.machine.index, late.now_ms, 0, [])
    assert late.machine.digest() == early.machine.digest()


def test_waiting_time_makes_the_same_choice_however_often_it_was_looked_at() -> None:
    """What is asked between entries (due times, claimable) changes nothing that chance acts on."""
    asked, unasked = TaskTable(), TaskTable()
    for table in (asked, unasked):
        for number in range(20):
            table.insert("/a", f"t{number}", arrival=op.DELAY, ms=100 * number + 1)
            table.insert("/b", f"u{number}", arrival=op.DELAY, ms=1)
    for ms in range(0, 3_000, 10):
        asked.machine.due(asked.now_ms + ms)
        asked.machine.claimable(("/a",), asked.now_ms + ms)
        asked.machine.next_due_ms()
    for table in (asked, unasked):
        table.now_ms += 3_000
    first = [table.do(claim("/a", "/b", limit=30)) for table in (asked, unasked)]
    assert isinstance(first[0], Claimed)
    assert first[0] == first[1]


def test_a_lease_given_up_and_taken_again_within_a_second_expires_once() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", lease_ms=400)
    again = table.change(held, arrival=op.LEASE, ms=400)
    assert again.at == held.at
    table.pass_ms(400)
    assert table.ready == {"/a": 1}
    assert table.stats("/a").ready == 1
    assert len(table.claim("/a", limit=5)) == 1


def test_a_change_of_a_held_task_by_another_is_refused_until_its_lease_has_run_out() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", lease_ms=1_000)
    steal = modify(changes=[change(held, arrival=op.LEASE, ms=9_000)], claimant="w2")
    (failed,) = table.refused(steal)
    assert (failed.reason, failed.claimant, failed.until) == ("claimed", "w1", held.at)
    table.now_ms += 1_000
    (stolen,) = table.do(steal).changed
    assert (stolen.claimant, stolen.claims) == ("w2", 1)


def test_a_claim_stops_taking_once_it_has_eight_mebibytes_of_values() -> None:
    table = TaskTable()
    for _ in range(4):
        table.insert("/a", value=b"x" * 4 * 2**20)
    assert len(table.claim("/a", limit=4)) == 2
    assert len(table.claim("/a", limit=1)) == 1

"""Who has lost a part of its past, as far as what it once told can show."""

import pytest

from raftq_cluster.backends.raft.pasts import Held, Pasts

BIRTH = "b" * 16


def lost(told, end):
    pasts = Pasts({})
    pasts.note(BIRTH, told)
    return pasts.what_is_lost("n1", BIRTH, end)


def test_who_has_all_that_it_told_has_lost_nothing():
    assert lost(Held(3, 100), Held(3, 100)) == ""
    assert lost(Held(3, 100), Held(3, 101)) == ""


def test_who_has_fewer_entries_in_the_same_term_has_lost_some():
    assert "entry 100 in term 3, and its log ends with entry 99 in term 3" in lost(
        Held(3, 100), Held(3, 99)
    )


@pytest.mark.parametrize("index", [50, 100, 5_000])
def test_who_knows_of_fewer_terms_has_lost_one(index):
    assert lost(Held(3, 100), Held(2, index))


def test_a_later_leader_may_have_cut_what_was_told_in_an_earlier_term():
    assert lost(Held(3, 100), Held(4, 60)) == ""


def test_the_last_that_was_told_counts_whatever_order_it_comes_in():
    pasts = Pasts({})
    for held in (Held(3, 100), Held(4, 0), Held(3, 900), Held(4, 10), Held(4, 5)):
        pasts.note(BIRTH, held)
    assert pasts.known[BIRTH] == Held(4, 10)


def test_of_whom_nothing_is_known_and_who_tells_nothing_is_believed():
    pasts = Pasts({BIRTH: Held(3, 100)})
    assert pasts.what_is_lost("n2", "c" * 16, Held(0, 0)) == ""
    assert pasts.what_is_lost("n1", BIRTH, None) == ""


def test_a_directory_without_a_birth_is_not_remembered():
    pasts = Pasts({})
    pasts.note("", Held(3, 100))
    assert dict(pasts.known) == {}


def test_who_is_no_member_any_more_is_forgotten():
    pasts = Pasts({BIRTH: Held(3, 100), "c" * 16: Held(3, 90)})
    before = pasts.changes
    pasts.forget_others([BIRTH])
    assert list(pasts.known) == [BIRTH]
    assert pasts.changes > before


def test_only_news_is_a_change():
    pasts = Pasts({BIRTH: Held(3, 100)})
    pasts.note(BIRTH, Held(3, 100))
    pasts.note(BIRTH, Held(2, 900))
    assert pasts.changes == 0

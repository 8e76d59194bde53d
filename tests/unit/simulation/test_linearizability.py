"""The search for an order of overlapping calls."""

from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.checkers.linearizability import (
    FOREVER_NS,
    is_linearizable,
    register,
    small_queue,
)

NOTHING = frozenset()


def test_calls_one_after_the_other_must_follow_the_model():
    steps = [(0, 1, ("create", "x", True)), (2, 3, ("read", (0, "x")))]
    assert is_linearizable(steps, None, register)
    assert not is_linearizable([steps[0], (2, 3, ("read", None))], None, register)


def test_a_stale_read_is_found():
    steps = [
        (0, 1, ("create", "x", True)),
        (2, 3, ("write", 0, "y", True)),
        (4, 5, ("read", (0, "x"))),
    ]
    assert not is_linearizable(steps, None, register)


def test_an_overlapping_read_may_see_the_old_or_the_new():
    for seen in ((0, "x"), (1, "y")):
        steps = [
            (0, 1, ("create", "x", True)),
            (2, 9, ("write", 0, "y", True)),
            (4, 5, ("read", seen)),
        ]
        assert is_linearizable(steps, None, register)


def test_the_new_and_then_the_old_is_found():
    steps = [
        (0, 1, ("create", "x", True)),
        (2, 9, ("write", 0, "y", True)),
        (3, 4, ("read", (1, "y"))),
        (5, 6, ("read", (0, "x"))),
    ]
    assert not is_linearizable(steps, None, register)


def test_a_write_of_unknown_outcome_may_have_happened_late_or_never():
    unknown = (2, FOREVER_NS, ("write", 0, "y", None))
    created = (0, 1, ("create", "x", True))
    assert is_linearizable([created, unknown, (10, 11, ("read", (0, "x")))], None, register)
    assert is_linearizable([created, unknown, (10, 11, ("read", (1, "y")))], None, register)


def test_a_refused_write_needs_a_reason():
    created = (0, 1, ("create", "x", True))
    assert is_linearizable([created, (2, 3, ("write", 4, "y", False))], None, register)
    assert not is_linearizable([created, (2, 3, ("write", 0, "y", False))], None, register)


def test_a_task_of_a_small_queue_is_claimed_once():
    steps = [(0, 1, ("insert", "a")), (2, 3, ("claim", "a")), (4, 5, ("claim", "a"))]
    assert not is_linearizable(steps, NOTHING, small_queue)


def test_a_claim_that_finds_nothing_although_a_task_is_there_is_found():
    steps = [(0, 1, ("insert", "a")), (2, 3, ("claim", ""))]
    assert not is_linearizable(steps, NOTHING, small_queue)
    lost = (1, FOREVER_NS, ("claim", None))  # somebody may have taken it
    assert is_linearizable([*steps, lost], NOTHING, small_queue)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), max_size=7), st.randoms())
def test_whatever_had_an_order_is_found_to_have_one(spans, random):
    points = sorted((began, began + length) for began, length in spans)
    order = sorted(points, key=lambda span: random.uniform(span[0], span[1] + 0.5))
    # Calls that take effect at a moment within their span, one after the other.
    moments = [(random.randint(began, ended), (began, ended)) for began, ended in order]
    version, steps = -1, []
    for _, (began, ended) in sorted(moments):
        if version < 0 or random.random() < 0.6:
            step = (
                ("create", "0", True) if version < 0 else ("write", version, f"{version + 1}", True)
            )
            version += 1
        else:
            step = ("read", (version, f"{version}"))
        steps.append((began, ended, step))
    assert is_linearizable(steps, None, register)

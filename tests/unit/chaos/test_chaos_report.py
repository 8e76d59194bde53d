"""What a run tells at its end: how long nothing was acknowledged, what was done, and what came of it."""

from collections import Counter

from tests.chaos import report
from tests.chaos.availability import Gap, Span, gaps
from tests.chaos.options import Options
from tests.chaos.rounds import Result
from tests.simulation.history import DONE, UNKNOWN, Call, History

S = 1_000_000_000


def ended(kind: str, at_s: float, status: str = DONE) -> Call:
    return Call("c", kind, 0, ended_ns=int(at_s * S), status=status)


def test_a_time_without_acknowledgements_names_the_faults_that_were_on() -> None:
    history = History(calls=[ended("modify", 1.0), ended("enq", 4.5), ended("claim", 5.0)])
    spans = [Span(0, 2 * S, "kill"), Span(4 * S, 9 * S, "slow"), Span(5 * S, 6 * S, "pause")]
    assert list(gaps(history, spans)) == [Gap(3.5, frozenset({"kill", "slow"}))]


def test_what_is_unknown_or_only_read_acknowledges_nothing() -> None:
    between = [ended("modify", 2.0, UNKNOWN), ended("read", 2.5)]
    history = History(calls=[ended("modify", 1.0), *between, ended("ack", 3.5)])
    assert list(gaps(history, [])) == [Gap(2.5, frozenset())]


def test_the_report_has_faults_operations_gaps_and_breaches() -> None:
    result = Result(
        1, ["lost: v1 is gone"], Counter(kill=2), Counter(slow=1),
        Counter({("taskq", "enq", "done"): 5, ("taskq", "enq", "store_full"): 1}),
        Counter({"calls done": 5}), [Gap(2.25, frozenset({"kill"}))], 0.5,
    )  # fmt: skip
    text = "\n".join(report.lines(Options(7, 5), "network namespaces", [result], 60.0, 9))
    assert "5 nodes in network namespaces, seed 7: 1 rounds in 60 s" in text
    assert "kill                    2       0   2.2 s" in text
    assert "slow                    0       1   under 1 s" in text
    assert "taskq     enq      done 5, store_full 1" in text
    assert "1 times, 2 s in all" in text
    assert "9 lives of nodes" in text
    assert "broken promises: 1\n  lost: v1 is gone" in text

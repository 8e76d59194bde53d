"""Tasks and the parts of a modification as values."""

import pickle
from dataclasses import dataclass

import msgspec
import pytest

from raftq import Insert, InvalidRequest, Target, Task
from raftq.requests import change_document, insert_document
from raftq.tasks import with_value
from raftq.values import VALUE_BYTES_MAX
from raftq.wire.formats import decode


def task(text: bytes = b'"value":{"n":1}') -> Task:
    return decode(b'{"id":"t1","version":3,"queue":"q","at":9,%b}' % text, Task, "json")


@dataclass
class Mail:
    n: int


def test_a_value_is_decoded_when_it_is_looked_at_and_only_once():
    found = task()
    assert found.value is found.value
    assert found.value == {"n": 1}


def test_bytes_come_as_bytes():
    assert task(b'"value_b64":"AAo="').value == b"\x00\n"


def test_a_value_that_was_left_out_is_none():
    assert task(b'"claims":0').value is None


def test_a_value_can_be_read_as_a_type():
    assert task().value_as(Mail) == Mail(1)
    assert task(b'"value_b64":"AAo="').value_as(bytes) == b"\x00\n"


@pytest.mark.parametrize("text", [b'"value":{"n":"x"}', b'"value_b64":"AAo="', b'"claims":0'])
def test_a_value_of_another_type_is_refused(text):
    with pytest.raises(InvalidRequest, match="t1"):
        task(text).value_as(Mail)


def test_a_task_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        task().version = 4


def test_a_task_survives_pickling():
    found = task()
    assert found.value == {"n": 1}
    assert pickle.loads(pickle.dumps(found)) == found
    assert pickle.loads(pickle.dumps(found)).value == {"n": 1}


def test_a_task_shows_itself_briefly():
    assert repr(task()) == "Task(id='t1', version=3, queue='q', at=9)"


def test_deletes_and_depends_name_the_version():
    assert task().delete() == task().depend() == Target("t1", 3)


def test_a_change_writes_only_what_it_names():
    document = change_document(task().change(err="", priority=0), VALUE_BYTES_MAX)
    assert msgspec.json.decode(msgspec.json.encode(document)) == {
        "id": "t1",
        "version": 3,
        "err": "",
        "priority": 0,
    }
    document = change_document(task().change(value=None, queue="r", attempt=1), VALUE_BYTES_MAX)
    assert msgspec.json.decode(msgspec.json.encode(document)) == {
        "id": "t1",
        "version": 3,
        "value": None,
        "queue": "r",
        "attempt": 1,
    }


@pytest.mark.parametrize(
    "arrivals", [{"at": 1, "delay_ms": 1}, {"at": 1, "lease_ms": 1}, {"delay_ms": 0, "lease_ms": 1}]
)
def test_two_arrival_times_are_refused(arrivals):
    with pytest.raises(InvalidRequest, match="at most one"):
        change_document(task().change(**arrivals), VALUE_BYTES_MAX)


def test_an_insert_with_two_arrival_times_is_refused():
    with pytest.raises(InvalidRequest, match="at most one"):
        insert_document(Insert("q", at=1, delay_ms=1), VALUE_BYTES_MAX)


def test_an_answer_without_a_value_takes_the_known_one():
    bare = task(b'"claims":2')
    assert with_value(bare, task()).value == {"n": 1}
    assert with_value(task(), bare).value == {"n": 1}

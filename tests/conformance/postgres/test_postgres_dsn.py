"""What a person reads of a DSN that cannot be used: never its password."""

import pytest
from tests.support.postgres_server import shared_server

from raftq_cluster.backends.postgres.connecting import Place, connect
from raftq_cluster.config import StartError

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("password", ["s3cret/x", "s3cret#x", "s3cret?x", "x@s3cret", "s3cret:x"])
async def test_a_dsn_that_cannot_be_used_is_refused_without_its_password(password: str) -> None:
    with pytest.raises(StartError) as refused:
        await connect(Place(f"postgresql://u:{password}@127.0.0.1:1/db"))
    assert str(refused.value).startswith("--postgres-dsn")
    assert "s3cret" not in str(refused.value)


async def test_a_server_that_takes_no_writes_is_told_of_as_such() -> None:
    read_only = "options=-c%20default_transaction_read_only%3Don"
    dsn = shared_server().dsn
    with pytest.raises(StartError, match="none of its servers takes writes"):
        await connect(Place(f"{dsn}{'&' if '?' in dsn else '?'}{read_only}"))

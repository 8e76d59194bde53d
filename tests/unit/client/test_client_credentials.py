"""Where a client's token and files come from, and what is said of those that cannot be used."""

import ssl
from datetime import UTC, datetime

import pytest
from tests.support.scripted_node import reply_ok, scripted, well_behaved

import raftq
from raftq.cli.authority import Authority
from raftq.transport.trust import Trust, explained

VARIABLES = ("RAFTQ_TOKEN", "RAFTQ_TOKEN_FILE", "RAFTQ_CA", "RAFTQ_CERT", "RAFTQ_KEY")


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_what_is_said_counts_before_the_url_and_the_url_before_the_environment(monkeypatch):
    monkeypatch.setenv("RAFTQ_TOKEN", "of-environment")
    assert raftq.Credentials(token="given").completed("of-url").secret() == "given"
    assert raftq.Credentials().completed("of-url").secret() == "of-url"
    assert raftq.Credentials().completed().secret() == "of-environment"


def test_a_file_is_read_whenever_the_token_is_asked_for(monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    monkeypatch.setenv("RAFTQ_TOKEN_FILE", str(file))
    credentials = raftq.Credentials().completed()
    assert credentials.secret() == "first"
    file.write_text("second")
    assert credentials.secret() == "second"


def test_a_given_certificate_does_not_get_the_key_of_the_environment(monkeypatch):
    monkeypatch.setenv("RAFTQ_KEY", "other.key")
    assert raftq.Credentials(cert="mine.pem").completed().key == ""
    monkeypatch.setenv("RAFTQ_CERT", "other.pem")
    assert raftq.Credentials().completed().key == "other.key"


def test_a_token_is_not_shown():
    assert "rq_secret" not in repr(raftq.Credentials(token="rq_secret"))


@pytest.mark.parametrize("token", ["a b", "a\nX-Header: 1", "\u00e9", "x" * 257])
def test_what_cannot_be_a_token_is_refused_unshown(token):
    with pytest.raises(raftq.InvalidRequest) as refused:
        raftq.Client("raftq://a", credentials=raftq.Credentials(token=token))
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), (b"", "is empty"), (b"\xff", "no text")]
)
def test_a_token_file_that_cannot_be_used_is_named(tmp_path, content, why):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(raftq.InvalidRequest, match=why):
        raftq.Client("raftq://a", credentials=raftq.Credentials(token_file=str(file)))


@pytest.fixture
def certified(tmp_path):
    authority = Authority(tmp_path, datetime.now(UTC))
    return authority, authority.certify_client("c", 1)


def test_a_context_is_made_anew_when_a_file_has_changed(certified):
    authority, client = certified
    trust = Trust(
        raftq.Credentials(ca=str(authority.pair.cert), cert=str(client.cert), key=str(client.key))
    )
    before = trust.context()
    assert trust.context() is before
    authority.certify_client("c", 1)
    assert trust.context() is not before
    assert before.minimum_version == ssl.TLSVersion.TLSv1_2
    assert before.verify_mode is ssl.CERT_REQUIRED
    assert before.check_hostname


def test_files_that_cannot_be_used_are_named(certified, tmp_path):
    authority, client = certified
    (tmp_path / "empty").touch()
    ca, cert, key = str(authority.pair.cert), str(client.cert), str(client.key)
    for fields, why in (
        ({"ca": "none"}, "none: No such file"),
        ({"ca": str(tmp_path / "empty")}, "holds no certificates"),
        ({"ca": ca, "key": key}, "is without its certificate"),
        ({"ca": ca, "cert": cert}, "are no certificate with its key"),
        ({"ca": ca, "cert": cert, "key": str(authority.pair.key)}, "are no certificate with its"),
    ):
        with pytest.raises(raftq.InvalidRequest, match=why):
            Trust(raftq.Credentials(**fields)).context()


def tls_error(kind, reason, **attributes):
    error = kind(1, f"[SSL: {reason}]")
    error.reason = reason
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (tls_error(ssl.SSLError, "WRONG_VERSION_NUMBER"), raftq.ProtocolError, "try raftq://"),
        (
            tls_error(ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            raftq.Untrusted,
            "wants a certificate",
        ),
        (tls_error(ssl.SSLError, "TLSV1_ALERT_UNKNOWN_CA"), raftq.Untrusted, "wants a certificate"),
        (
            tls_error(
                ssl.SSLCertVerificationError, "C", verify_code=20, verify_message="no issuer"
            ),
            raftq.Untrusted,
            "is not trusted: no issuer",
        ),
        (
            tls_error(ssl.SSLCertVerificationError, "C", verify_code=62, verify_message="names"),
            raftq.Untrusted,
            "for another name: names",
        ),
    ],
)
def test_a_failure_of_tls_is_explained_however_it_is_wrapped(error, kind, words):
    wrapped = ConnectionError("it failed")
    wrapped.__cause__ = error
    for shown in (error, wrapped):
        found = explained(shown, "raftqs://a:1")
        assert type(found) is kind
        assert words in str(found)


@pytest.mark.parametrize("error", [OSError("x"), tls_error(ssl.SSLError, "SOMETHING_ELSE")])
def test_any_other_failure_is_left_to_others(error):
    assert explained(error, "raftqs://a:1") is None


@pytest.mark.asyncio
async def test_the_token_is_the_first_thing_said_and_calls_follow_once_it_is_known():
    said = []

    def script(call):
        said.append(call.verb)
        return b"%d authed\n" % call.rid if call.verb == "auth rq_x" else well_behaved(call)

    async with scripted(script) as node:
        credentials = raftq.Credentials(token="rq_x")
        async with raftq.AsyncClient(node.url, credentials=credentials) as client:
            await client.time()
            await client.time()
    assert said == ["auth rq_x", "time", "time"]


@pytest.mark.asyncio
async def test_a_refused_token_is_said_at_once_by_one_node_and_tried_at_the_next():
    def refuse(call):
        return b"%d error unauthenticated: this token is not known\n" % call.rid

    def accept(call):
        return (
            b"%d authed\n" % call.rid
            if call.verb.startswith("auth")
            else reply_ok(call, {"now": 3})
        )

    credentials = raftq.Credentials(token="rq_x")
    async with scripted(refuse) as bad, scripted(accept) as good:
        async with raftq.AsyncClient(bad.url, credentials=credentials) as client:
            with pytest.raises(raftq.Denied, match="this token is not known") as denied:
                await client.time()
            assert denied.value.code == "unauthenticated"
        async with raftq.AsyncClient([bad.url, good.url], credentials=credentials) as client:
            assert await client.time() == 3

"""``raftq cert dev``: what the files are, and that both ends of a TLS connection take them."""

import os
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from tests.support.raftq_command import invoke
from tests.support.recording_client import RecordingClient

from raftq.cli.authority import Authority
from raftq_cluster.backends.raft.transport.tls import Contexts, PeerTls, node_of


def make(folder, *arguments):
    ran = invoke(RecordingClient(), "cert", "dev", "--out", str(folder), *arguments)
    assert ran.code == 0, ran.err
    return ran


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def shake_hands(server, client, server_hostname=None):
    """Do a handshake in memory; give what each side knows of the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=server_hostname),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
        if not waiting:
            return ends[0].getpeercert(), ends[1].getpeercert()
    raise AssertionError("the handshake does not end")


def server_of(folder, node):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.load_cert_chain(folder / f"{node}.pem", folder / f"{node}.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def client_of(folder, name=None):
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_paths_of_all_files_are_printed_one_a_line(tmp_path):
    ran = make(tmp_path / "certs", "n1", "--node", "n2")
    names = [Path(line).name for line in ran.out.splitlines()]
    assert names == [f"{stem}{end}" for stem in ("ca", "n1", "n2", "client") for end in (".pem", ".key")]  # fmt: skip
    assert all(Path(line).is_file() for line in ran.out.splitlines())


def test_only_the_owner_can_read_keys_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        make(tmp_path, "n1")
    finally:
        os.umask(before)
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {".pem": 0o644, ".key": 0o600}


@pytest.mark.parametrize("host", ["n2", "localhost", "127.0.0.1", "::1", "10.0.0.2", "q.example"])
def test_clients_reach_a_node_under_each_of_its_names(tmp_path, host):
    make(tmp_path, "n2=10.0.0.2,q.example")
    of_client, _ = shake_hands(server_of(tmp_path, "n2"), client_of(tmp_path, "client"), host)
    assert ("URI", "raftq:client:client") in of_client["subjectAltName"]


def test_a_node_is_not_taken_for_another_host(tmp_path):
    make(tmp_path, "n1")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake_hands(server_of(tmp_path, "n1"), client_of(tmp_path, "client"), "n2")


def test_a_client_certificate_cannot_serve(tmp_path):
    make(tmp_path, "n1")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"purpose|unsuitable"):
        shake_hands(server_of(tmp_path, "client"), client_of(tmp_path, "client"), "localhost")


def test_peers_know_each_other_by_their_certificates(tmp_path):
    make(tmp_path, "n1", "n2")
    n1, n2 = (
        Contexts(PeerTls(tmp_path / f"{node}.pem", tmp_path / f"{node}.key", tmp_path / "ca.pem"))
        for node in ("n1", "n2")
    )
    of_client, of_server = shake_hands(n1.server, n2.client)
    assert (node_of(of_client), node_of(of_server)) == ("n2", "n1")


def test_a_client_named_as_a_node_is_no_node(tmp_path):
    authority = Authority(tmp_path, datetime.now(UTC))
    node = authority.certify_node("n1", ["n1"], 1)
    client = authority.certify_client("n2", 1)
    contexts = Contexts(PeerTls(node.cert, node.key, authority.pair.cert))
    of_client, _ = shake_hands(contexts.server, client_of(tmp_path, "n2"), "n1")
    assert client.cert.name == "n2.pem"
    assert node_of(of_client) == ""


def test_given_again_the_authority_stays_and_the_certificates_are_new(tmp_path):
    make(tmp_path, "n1")
    ca, n1 = ((tmp_path / name).read_bytes() for name in ("ca.pem", "n1.pem"))
    make(tmp_path, "n1", "n4", "--client", "reports")
    assert (tmp_path / "ca.pem").read_bytes() == ca
    assert (tmp_path / "n1.pem").read_bytes() != n1
    shake_hands(server_of(tmp_path, "n4"), client_of(tmp_path, "reports"), "n4")


def test_certificates_are_good_for_the_days_that_are_asked_for(tmp_path):
    make(tmp_path, "--days", "7")
    left = certificate(tmp_path / "n1.pem").not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=6) < left <= timedelta(days=7)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("ca",), "is no name"),
        (("n 1",), "is no name"),
        (("../n1",), "is no name"),
        (("n1=a b",), "no host name"),
        (("n1=",), ""),
        (("n1", "n1"), "named twice"),
        (("client",), "named twice"),
        (("--days", "0"), "--days"),
    ],
)
def test_words_that_name_no_node_are_refused_before_anything_is_made(tmp_path, arguments, why):
    folder = tmp_path / "certs"
    ran = invoke(RecordingClient(), "cert", "dev", "--out", str(folder), *arguments)
    if why:
        assert ran.code == 2
        assert why in ran.err
        assert not folder.exists()
    else:
        assert ran.code == 0


def test_an_authority_without_its_key_is_refused_and_kept(tmp_path):
    make(tmp_path, "n1")
    (tmp_path / "ca.key").unlink()
    ca = (tmp_path / "ca.pem").read_bytes()
    ran = invoke(RecordingClient(), "cert", "dev", "--out", str(tmp_path), "n1")
    assert ran.code == 2
    assert "ca.key is missing" in ran.err
    assert (tmp_path / "ca.pem").read_bytes() == ca


@pytest.mark.parametrize("broken", [b"", b"no key at all"])
def test_a_broken_authority_is_refused_in_one_line(tmp_path, broken):
    make(tmp_path, "n1")
    (tmp_path / "ca.key").write_bytes(broken)
    ran = invoke(RecordingClient(), "cert", "dev", "--out", str(tmp_path), "n1")
    assert ran.code == 2
    assert "are no authority of raftq" in ran.err.splitlines()[0]


def test_the_key_of_another_authority_is_refused(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    (tmp_path / "b/ca.key").replace(tmp_path / "a/ca.key")
    ran = invoke(RecordingClient(), "cert", "dev", "--out", str(tmp_path / "a"))
    assert "is not the key of" in ran.err


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "raftq.cli.authority", raising=False)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    ran = invoke(RecordingClient(), "cert", "dev", "--out", str(tmp_path))
    assert ran.code == 2
    assert "pip install 'raftq[certs]'" in ran.err


def test_the_group_alone_shows_what_there_is():
    ran = invoke(RecordingClient(), "cert")
    assert ran.code == 0
    assert "dev" in ran.out


def test_peers_go_on_with_what_they_have_while_files_do_not_fit(tmp_path, caplog):
    make(tmp_path, "n1", "n2")
    contexts = Contexts(PeerTls(tmp_path / "n1.pem", tmp_path / "n1.key", tmp_path / "ca.pem"))
    key = (tmp_path / "n1.key").read_bytes()
    (tmp_path / "n1.key").write_bytes((tmp_path / "n2.key").read_bytes())
    contexts.refresh()
    assert "cannot be used" in caplog.text
    _, of_server = shake_hands(contexts.server, contexts.client)
    assert node_of(of_server) == "n1"
    (tmp_path / "n1.key").write_bytes(key)
    contexts.refresh(always=True)
    shake_hands(contexts.server, contexts.client)

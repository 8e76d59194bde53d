"""A real node with TLS and tokens, and its users: workers, the command, and those whom it keeps out."""

import os
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from tests.support.node_process import run_raftqd
from tests.support.secured_node import SecuredNode, run_raftq

import raftq

WAIT_S = 20.0


@pytest.fixture
def node(tmp_path):
    with SecuredNode(tmp_path) as made:
        yield made


@pytest.fixture(params=["url", "http_url"])
def url(request, node):
    return getattr(node, request.param)


def eventually(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)


def client_of(node, url, name="ops", **options):
    return raftq.Client(url, credentials=node.credentials(name), timeout_s=5, **options)


def test_a_worker_with_its_rights_alone_does_tasks(node):
    node.grant("worker", "claim,change,delete:mail*", "insert:mail/err")
    done = []
    with client_of(node, node.url) as client:
        eventually(lambda: _is_known(node, node.url, "worker"))
        client.put_many([raftq.Insert("mail", number) for number in range(10)])
        worker = raftq.Worker(
            raftq.Client(node.url, credentials=node.credentials("worker")),
            "mail",
            handler=lambda task: done.append(task.value),
        )
        thread = threading.Thread(target=worker.run)
        thread.start()
        assert client.wait_empty("mail", timeout_ms=20_000)
        worker.stop()
        thread.join(WAIT_S)
    assert sorted(done) == list(range(10))


def _is_known(node, url, name):
    try:
        with client_of(node, url, name) as client:
            client.time()
    except raftq.Denied:
        return False
    return True


def test_a_token_may_do_what_it_was_granted_and_nothing_else(node, url):
    node.grant("reader", "read:a*")
    eventually(lambda: _is_known(node, url, "reader"))
    with client_of(node, url) as ops, client_of(node, url, "reader") as reader:
        ops.put("a/1", 1)
        ops.put("b", 2)
        assert [queue.name for queue in reader.queues()] == ["a/1"]
        with pytest.raises(raftq.Denied, match="the right insert on queue a/1") as denied:
            reader.put("a/1", 3)
        assert denied.value.code == "forbidden"
        with pytest.raises(raftq.Denied, match="the right admin on queue \\*"):
            reader.transfer()


@pytest.mark.parametrize("token", ["", "rq_wrong"])
def test_without_a_known_token_nothing_is_told(node, url, token):
    credentials = raftq.Credentials(token=token, ca=str(node.certs / "ca.pem"))
    with raftq.Client(url, credentials=credentials, timeout_s=5) as client:
        with pytest.raises(raftq.Denied) as denied:
            client.put("q", 1)
        assert denied.value.code == "unauthenticated"
        assert "rq_wrong" not in str(denied.value)


def test_a_removed_token_ends_waits_and_open_connections(node, url):
    with client_of(node, url) as client:
        client.time()
        failures = []

        def wait():
            try:
                client.claim("q", wait_ms=20_000)
            except raftq.RaftqError as error:
                failures.append(error.code)

        thread = threading.Thread(target=wait)
        thread.start()
        node.revoke_all()
        thread.join(WAIT_S)
        assert failures == ["unauthenticated"]
        with pytest.raises(raftq.Denied):
            client.put("q", 1)


def _serial(node):
    host, port = node.process.facts["text"].rsplit(":", 1)
    context = ssl.create_default_context(cafile=node.certs / "ca.pem")
    with (
        socket.create_connection((host, int(port)), WAIT_S) as connected,
        context.wrap_socket(connected, server_hostname=host) as wrapped,
    ):
        return wrapped.getpeercert()["serialNumber"]


def test_renewed_certificates_count_without_a_restart(node):
    before = _serial(node)
    with client_of(node, node.url) as client:
        client.put("q", 1)
        node.certify()
        eventually(lambda: _serial(node) != before)
        client.put("q", 2)  # over the connection of before
    with client_of(node, node.url) as client:
        assert len(client.tasks("q")) == 2


def test_a_hangup_has_files_read_and_the_node_goes_on(node):
    os.kill(node.process.pid, signal.SIGHUP)
    eventually(lambda: node.process.logs().count("certificate read") == 1)
    with client_of(node, node.url) as client:
        assert client.time() > 0


def test_an_authority_that_the_client_does_not_know_is_not_trusted(node, url, tmp_path):
    run_raftq("cert", "dev", "--out", "other", cwd=tmp_path).check_returncode()
    other = raftq.Credentials(token=node.secrets["ops"], ca=str(tmp_path / "other" / "ca.pem"))
    with (
        raftq.Client(url, credentials=other, timeout_s=10) as client,
        pytest.raises(raftq.Untrusted, match="is not trusted"),
    ):
        client.time()


def test_a_certificate_of_another_name_is_not_trusted(node, url):
    port = url.rsplit(":", 1)[1]
    elsewhere = f"{url.split('://')[0]}://127.0.0.2:{port}"
    with client_of(node, elsewhere) as client, pytest.raises(raftq.RaftqError) as refused:
        client.time()
    # Where the node listens on 127.0.0.1 alone there is nobody at 127.0.0.2.
    assert isinstance(refused.value, raftq.ConnectionLost)


def test_speaking_plainly_to_tls_is_said_at_once(node):
    for url, scheme in ((node.url, "raftqs"), (node.http_url, "https")):
        plain = url.replace("s://", "://")
        began = time.monotonic()
        with raftq.Client(plain) as client, pytest.raises(raftq.RaftqError) as refused:
            client.time()
        assert f"this port speaks TLS: {scheme}://" in str(refused.value)
        assert time.monotonic() - began < 10


def test_nodes_that_ask_for_certificates_get_them_or_say_so(tmp_path):
    with SecuredNode(tmp_path, "--tls-ca", str(tmp_path / "certs" / "ca.pem")) as node:
        for url in (node.url, node.http_url):
            with raftq.Client(url, credentials=node.credentials("ops", certified=True)) as client:
                assert client.time() > 0
            with (
                client_of(node, url) as client,
                pytest.raises(raftq.RaftqError, match="certificate"),
            ):
                client.time()


def test_the_command_finds_everything_in_the_environment(node, tmp_path):
    (tmp_path / "token").write_text(node.secrets["ops"] + "\n")
    ca = str(node.certs / "ca.pem")
    for env in (
        {"RAFTQ_TOKEN": node.secrets["ops"]},
        {"RAFTQ_TOKEN_FILE": str(tmp_path / "token")},
    ):
        ran = run_raftq("put", "q", "1", cwd=tmp_path, RAFTQ_URL=node.url, RAFTQ_CA=ca, **env)
        assert ran.returncode == 0, ran.stderr
    flags = ("--token-file", str(tmp_path / "token"), "--ca", ca)
    assert run_raftq("tasks", "q", *flags, cwd=tmp_path, RAFTQ_URL=node.http_url).returncode == 0
    in_url = node.url.replace("://", f"://{node.secrets['ops']}@")
    assert run_raftq("queues", cwd=tmp_path, RAFTQ_URL=in_url, RAFTQ_CA=ca).returncode == 0


def test_the_command_says_what_is_missing(node, tmp_path):
    ca = str(node.certs / "ca.pem")
    nobody = run_raftq("queues", cwd=tmp_path, RAFTQ_URL=node.url, RAFTQ_CA=ca)
    assert nobody.returncode == 6
    assert "RAFTQ_TOKEN" in nobody.stderr
    untrusting = run_raftq("queues", cwd=tmp_path, RAFTQ_URL=node.url, RAFTQ_TOKEN="rq_x")
    assert untrusting.returncode == 6
    assert "RAFTQ_CA" in untrusting.stderr


def test_no_secret_is_in_logs_or_errors(tmp_path):
    with SecuredNode(tmp_path, "--log-level", "debug") as node:
        secret, ca = node.secrets["ops"], str(node.certs / "ca.pem")
        in_url = node.url.replace("://", f"://{secret}@")
        shown = [
            run_raftq(*words, cwd=tmp_path, RAFTQ_CA=ca, **env).stderr
            for words, env in (
                (("queues",), {"RAFTQ_URL": in_url}),
                (("queues",), {"RAFTQ_URL": in_url.replace("raftqs", "bad")}),
                (("queues",), {"RAFTQ_URL": in_url + ":x"}),
                (("put", "q", "1"), {"RAFTQ_URL": node.url, "RAFTQ_TOKEN": secret + "x"}),
                (("put", "q", "1"), {"RAFTQ_URL": node.http_url, "RAFTQ_TOKEN": secret + " x"}),
            )
        ]
        assert secret not in "".join(shown) + node.process.logs()
        assert secret not in repr(node.credentials("ops"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--http", "0.0.0.0:0"), "give --tls-cert and --tls-key and --tokens"),
        (("--text", "[::]:0"), "give --tls-cert and --tls-key and --tokens"),
        (("--text", "0.0.0.0:0", "--tokens", "t"), "give --tls-cert and --tls-key, or say"),
        (("--tokens", "none.toml"), "--tokens: none.toml cannot be read: No such file"),
        (("--tls-cert", "c", "--tls-key", "k"), "--tls-cert: c cannot be read: No such file"),
    ],
)
def test_a_node_that_nothing_protects_does_not_start(tmp_path, flags, words):
    result = run_raftqd("--backend", "memory", *flags, cwd=tmp_path)
    assert result.returncode in {1, 2}
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_the_tokens_file_is_made_for_its_owner_alone(node):
    assert Path(node.tokens).stat().st_mode & 0o777 == 0o600

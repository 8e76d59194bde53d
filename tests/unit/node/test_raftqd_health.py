"""``raftqd health`` against something that answers as a node does."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from raftq_cluster.config import StartError
from raftq_cluster.config.settings import Address, Settings
from raftq_cluster.health import LIVE, READY, ask

NOT_READY = b'{"code":"unavailable","detail":"the node is not ready: no leader is known"}'


ANSWERS = {LIVE: (200, b"ok\n"), READY: (503, NOT_READY), "/odd": (500, b"<html>")}


class Probes(BaseHTTPRequestHandler):
    """Alive, and not ready; garbage elsewhere."""

    def do_GET(self):
        status, body = ANSWERS[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        """Say nothing."""


@pytest.fixture
def port():
    with HTTPServer(("127.0.0.1", 0), Probes) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_node_that_answers_well_is_well(port):
    assert ask(Settings(http=Address("127.0.0.1", port)), LIVE) == ""


def test_a_node_that_listens_everywhere_is_asked_on_loopback(port):
    assert ask(Settings(http=Address("0.0.0.0", port)), LIVE) == ""


def test_why_a_node_cannot_serve_is_told(port):
    settings = Settings(http=Address("127.0.0.1", port))
    assert ask(settings, READY) == "the node is not ready: no leader is known"
    assert ask(settings, "/odd") == "the answer was 500"


def test_nobody_there_is_told(port):
    settings = Settings(http=Address("127.0.0.9", port))
    assert ask(settings, READY).startswith(f"nothing answers at 127.0.0.9:{port}: ")


def test_a_port_of_the_systems_choice_cannot_be_asked():
    with pytest.raises(StartError, match="port 0 does not tell where the node is"):
        ask(Settings(http=Address("127.0.0.1", 0)), READY)

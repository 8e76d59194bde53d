"""``raftqd health``: ask the node of these settings how it is, for the health check of a container.

Runs beside the node, with the same settings, so it knows where to ask and how. Knows the probes by their paths,
nothing of what they mean. Works without the node's libraries: it is started every few seconds.
"""

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final

from raftq_cluster.config import EXIT_USAGE, StartError
from raftq_cluster.config.settings import EVERYWHERE, Address, Settings

TIMEOUT_S: Final = 3.0
READY: Final = "/readyz"
LIVE: Final = "/livez"
_ANSWER_BYTES_MAX: Final = 64 * 1024
_LOOPBACK: Final = dict(zip(EVERYWHERE, ("127.0.0.1", "::1"), strict=True))


def ask(settings: Settings, path: str) -> str:
    """Give "" if the node says that all is well, else one sentence.

    Raises:
        StartError: the settings do not tell where the node is.
    """
    if settings.http.port == 0:
        raise StartError("--http: port 0 does not tell where the node is", exit_code=EXIT_USAGE)
    address = Address(_LOOPBACK.get(settings.http.host, settings.http.host), settings.http.port)
    connection = _connection(settings, address)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(_ANSWER_BYTES_MAX)
    except (OSError, HTTPException) as error:
        return f"nothing answers at {address}: {error}"
    finally:
        connection.close()
    return "" if answer.status == 200 else _why(answer.status, body)


def _connection(settings: Settings, address: Address) -> HTTPConnection:
    if not settings.tls_cert:
        return HTTPConnection(*address, timeout=TIMEOUT_S)
    # Whoever listens here is asked for no secret and believed nothing but its health.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if settings.tls_ca:  # clients show a certificate, and the node's own is good for that
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return HTTPSConnection(*address, timeout=TIMEOUT_S, context=context)


def _why(status: int, body: bytes) -> str:
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        return f"the answer was {status}"
    return str(detail)

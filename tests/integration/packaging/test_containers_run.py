"""Every command of the Dockerfile and the compose file, run outside containers as they are written."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPSConnection
from pathlib import Path

import promql_parser
import pytest
import yaml
from tests.support.container_files import Compose, Container, Dockerfile, Sandbox, build
from tests.support.node_process import REPOSITORY

from free_ports import free_ports
from ready_line import facts_of, first_line

NODES = ("n1", "n2", "n3")
PATIENCE_S = 60.0  # three nodes start on a loaded machine with two cores
PROMETHEUS_OWN = {"up"}  # what Prometheus itself adds to what it scrapes


def until_ready(process: subprocess.Popen) -> dict[str, str]:
    """Wait for the ready line."""
    line = first_line(process, PATIENCE_S)
    facts = facts_of(line)
    assert facts, f"{line!r}, ended with {process.poll()}"
    return facts


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=env, cwd=log.parent, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=out,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(command: list[str], env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


# --- the image -----------------------------------------------------------------------------------


def as_process_1(command: list[str]) -> list[str]:
    """In a name space of process ids of its own, as in a container."""
    unprivileged = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *unprivileged, "--pid", "--fork", "--kill-child", *command]


@pytest.mark.slow
@pytest.mark.timeout(500)  # fills a virtual environment from the package index, as the build does
def test_the_image_is_built_and_its_node_is_a_good_process_1(tmp_path):
    dockerfile = Dockerfile()
    sandbox = Sandbox(tmp_path / "root")
    sandbox.root.mkdir()
    build(dockerfile, sandbox)
    env = {name: sandbox.text(value) for name, value in dockerfile.env.items()}
    programs = Path(env["PATH"].split(":")[0])
    assert not list(programs.glob("pip*")), "nothing that installs is left"
    assert list(programs.glob("../lib/python*/site-packages/uvloop"))
    assert not list(programs.glob("../lib/python*/site-packages/pytest"))

    ports = {f"RAFTQ_{name}": f"127.0.0.1:{free_ports(1)[0]}" for name in ("HTTP", "TEXT", "PEER")}
    env |= ports
    entrypoint, *flags = dockerfile.entrypoint
    command = as_process_1([str(programs / entrypoint), *flags])
    with running(command, env, tmp_path / "log") as process:
        facts = until_ready(process)
        assert facts["data"] == str(sandbox.path("/var/lib/raftq"))
        health, *words = dockerfile.healthcheck
        asked = run([str(programs / health), *words], env, tmp_path)
        assert (asked.returncode, asked.stdout) == (0, "ok\n"), asked.stderr
        (node,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        status = Path(f"/proc/{node}/status").read_text()
        assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE), "it is process 1 of its own"
        os.kill(int(node), signal.Signals[dockerfile.said("STOPSIGNAL")])
        assert process.wait(PATIENCE_S) == 0
    asked = run([str(programs / health), *words], env, tmp_path)
    assert asked.returncode == 1
    assert f"nothing answers at {ports['RAFTQ_HTTP']}" in asked.stderr


# --- the cluster ---------------------------------------------------------------------------------


class Deployment:
    """The compose file on loopback: each service that has a host name at an address of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # A network of this process alone, so that ports are free; all of 127/8 is this machine.
        net = f"127.{64 + os.getpid() // 256 % 128}.{os.getpid() % 256}"
        self.addresses = {name: f"{net}.{number + 1}" for number, name in enumerate(NODES)}
        self.dockerfile = Dockerfile()
        self.compose = Compose(root, self.addresses)
        self.containers = {name: self.compose.container(name) for name in self.compose.services}

    def environment(self, name: str) -> dict[str, str]:
        return self.containers[name].environment(self.dockerfile.env)

    def make_secrets(self) -> None:
        """Run the one-shot service; here the names of nodes are no host names, so it is told addresses."""
        *words, n1, n2, n3 = self.containers["secrets"].command([])
        assert (n1, n2, n3) == NODES
        named = [f"{name}={self.addresses[name]}" for name in NODES]
        env = self.environment("secrets") | {"NODE_UID": str(os.getuid())}
        env["PROMETHEUS_UID"] = str(os.getuid())
        done = run([*words, *named], env, self.root)
        assert done.returncode == 0, done.stderr

    @contextmanager
    def node(self, name: str) -> Iterator[subprocess.Popen]:
        container: Container = self.containers[name]
        container.sandbox.path("/var/lib/raftq").mkdir(exist_ok=True)
        command = container.command(self.dockerfile.entrypoint)
        log = self.root / f"{name}.log"
        with running(command, self.environment(name), log) as process:
            yield process

    def health(self, name: str) -> subprocess.CompletedProcess:
        return run(self.dockerfile.healthcheck, self.environment(name), self.root)

    def secret(self, service: str, file: str) -> Path:
        return self.containers[service].sandbox.path(f"/secrets/{file}")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    """Three nodes as the compose file starts them, all healthy."""
    made = Deployment(tmp_path_factory.mktemp("compose"))
    made.make_secrets()
    with ExitStack() as stack:
        made.stack = stack
        made.processes = {name: stack.enter_context(made.node(name)) for name in NODES}
        for process in made.processes.values():
            until_ready(process)
        yield made


def scrape(deployment: Deployment, name: str) -> str:
    """Read the metrics of a node by the words of ``prometheus.yml``."""
    document = yaml.safe_load((REPOSITORY / "deploy/prometheus.yml").read_text())
    (job,) = [job for job in document["scrape_configs"] if job["job_name"] == "raftq"]
    assert job["scheme"] == "https"
    files = deployment.containers["prometheus"].sandbox
    authority = files.path(job["tls_config"]["ca_file"])
    token = files.path(job["authorization"]["credentials_file"]).read_text().strip()
    context = ssl.create_default_context(cafile=str(authority))
    address = f"{deployment.addresses[name]}:7677"
    request = urllib.request.Request(
        f"https://{address}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return answer.read().decode()


def metric_names(expression: object) -> set[str]:
    """Names of all series that an expression of PromQL selects."""
    if isinstance(expression, promql_parser.VectorSelector):
        return {expression.name}
    parts = [getattr(expression, name, None) for name in ("expr", "lhs", "rhs", "vector_selector")]
    parts += getattr(expression, "args", None) or []
    return set().union(*(metric_names(part) for part in parts if part is not None))


def secret(deployment: Deployment, *words: str) -> str:
    """What the service that prints secrets prints."""
    container = deployment.containers["secret"]
    folder = container.sandbox.path(deployment.compose.services["secret"]["working_dir"])
    command = [*container.command([])[:1], *words]
    printed = run(command, deployment.environment("secret"), folder)
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


def request(deployment: Deployment, name: str, method: str, path: str, **how: object) -> tuple:
    """Ask a node as the handbook says: with the authority's certificate and a token."""
    context = ssl.create_default_context(cadata=secret(deployment, "ca.pem"))
    token = str(how.get("token", secret(deployment, "admin.token").strip()))
    connection = HTTPSConnection(deployment.addresses[name], 7677, timeout=30, context=context)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = json.dumps(how.get("body", {}))
    headers["Content-Type"] = "application/json"
    connection.request(method, path, body if method == "POST" else None, headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    return answer.status, json.loads(said)


def put(deployment: Deployment, name: str, queue: str) -> None:
    body = {"claimant": "test", "inserts": [{"queue": queue, "value": {}}]}
    status, document = request(deployment, name, "POST", "/v1/modify", body=body)
    assert status == 200, document


def test_every_node_is_healthy(deployment):
    for name in NODES:
        asked = deployment.health(name)
        assert (asked.returncode, asked.stdout) == (0, "ok\n"), asked.stderr


def test_the_nodes_are_one_cluster_that_holds_tasks(deployment):
    put(deployment, "n1", "/mail/out")
    status, document = request(deployment, "n3", "GET", "/v1/tasks?queue=/mail/out")
    assert status == 200
    assert document["tasks"]
    status, document = request(deployment, "n2", "GET", "/v1/cluster")
    assert {member["id"] for member in document["members"]} == set(NODES)


def raftq(deployment: Deployment, *words: str) -> subprocess.CompletedProcess:
    """Run the command line's service."""
    command = deployment.containers["raftq"].command([])
    return run([*command, *words], deployment.environment("raftq"), deployment.root)


def test_the_command_line_has_the_right_to_everything(deployment):
    done = raftq(deployment, "put", "/mail/out", '{"to": "ada@example.org"}')
    assert done.returncode == 0, done.stderr
    shown = raftq(deployment, "cluster", "-o", "json")
    assert shown.returncode == 0, shown.stderr
    assert {member["id"] for member in json.loads(shown.stdout)["members"]} == set(NODES)
    assert raftq(deployment, "queues", "pause", "/mail/out").returncode == 0
    assert raftq(deployment, "queues", "resume", "/mail/out").returncode == 0


def test_nobody_gets_in_without_tls_a_token_or_trust(deployment):
    address = deployment.addresses["n1"]
    stranger = HTTPSConnection(address, 7677, timeout=30, context=ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.request("GET", "/livez")
    with socket.create_connection((address, 7677), timeout=30) as plain:
        plain.sendall(b"GET /v1/cluster HTTP/1.0\r\n\r\n")
        assert b" 200 " not in plain.makefile("rb").readline()
    assert request(deployment, "n1", "GET", "/v1/cluster", token="")[0] == 401
    token = secret(deployment, "prometheus.token").strip()
    body = {"claimant": "test", "inserts": [{"queue": "/mail/out", "value": {}}]}
    assert request(deployment, "n1", "POST", "/v1/modify", token=token, body=body)[0] == 403


def test_alerts_ask_for_metrics_that_nodes_have(deployment):
    put(deployment, "n1", "/mail/err")
    scrape(deployment, "n1")
    scraped = scrape(deployment, "n1")  # has counted the scrape before
    there = set(re.findall(r"^(\w+)[ {]", scraped, re.MULTILINE)) | PROMETHEUS_OWN
    document = yaml.safe_load((REPOSITORY / "deploy/alerts.yml").read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            asked_for = metric_names(promql_parser.parse(rule["expr"]))
            assert asked_for, rule["alert"]
            assert asked_for <= there, rule["alert"]
    assert re.search(
        r'^raftq_queue_tasks{queue="/mail/err",state="ready"} \d', scraped, re.MULTILINE
    )
    assert re.search(r'^raftq_http_requests_total{.*status="200"', scraped, re.MULTILINE)


def test_every_node_can_be_scraped_and_one_leads(deployment):
    leaders = [scrape(deployment, name).count("raftq_raft_leader 1.0") for name in NODES]
    assert sum(leaders) == 1


def test_secrets_are_made_once_and_certificates_are_renewed_under_running_nodes(deployment):
    token = secret(deployment, "admin.token")
    certificate = (deployment.containers["n1"].sandbox.path("/secrets/n1.pem")).read_text()
    deployment.make_secrets()
    assert secret(deployment, "admin.token") == token
    assert (deployment.containers["n1"].sandbox.path("/secrets/n1.pem")).read_text() != certificate
    for name in NODES:
        assert deployment.health(name).returncode == 0
        scrape(deployment, name)


def test_a_node_stops_in_time_comes_back_and_has_missed_nothing(deployment):
    stopped = deployment.processes["n2"]
    stopped.terminate()
    grace = deployment.compose.services["n2"]["stop_grace_period"]
    assert stopped.wait(int(grace.removesuffix("s"))) == 0
    assert deployment.health("n2").returncode == 1
    put(deployment, "n1", "/meanwhile")
    back = deployment.stack.enter_context(deployment.node("n2"))
    deployment.processes["n2"] = back
    until_ready(back)
    status, document = request(deployment, "n2", "GET", "/v1/tasks?queue=/meanwhile")
    assert (status, len(document["tasks"])) == (200, 1)

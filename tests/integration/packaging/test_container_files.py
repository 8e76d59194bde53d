"""The Dockerfile, the compose file and Prometheus' files as texts: what they say fits together."""

import json
import re
import subprocess
import sys

import promql_parser
import pytest
import yaml
from compose_spec import PyCompose
from tests.support.container_files import Compose, Dockerfile
from tests.support.node_process import REPOSITORY, child_environment

NODES = ("n1", "n2", "n3")
# An exact version, and a digest where somebody pins it.
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")


@pytest.fixture
def compose(tmp_path) -> Compose:
    return Compose(tmp_path, {})


# --- the Dockerfile ------------------------------------------------------------------------------


def test_images_are_pinned(compose):
    dockerfile = Dockerfile()
    images = {service["image"] for service in compose.services.values()}
    for image in {*images, *dockerfile.arguments.values()}:
        assert PINNED.fullmatch(image), image
    for stage in dockerfile.stages:
        assert stage[0].value.split()[0] == "${PYTHON_IMAGE}"


def test_our_image_has_our_version(compose):
    version = re.search(
        r'^version = "(.+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert version is not None
    assert compose.services["n1"]["image"] == f"raftq:{version[1]}"


def test_the_last_stage_runs_nothing_and_is_no_superuser():
    dockerfile = Dockerfile()
    assert "RUN" not in {one.word for one in dockerfile.stages[-1]}
    uid, gid = dockerfile.said("USER").split(":")
    assert int(uid) > 1_000
    assert int(gid) > 1_000
    assert f"--chown={uid}:{gid} /data {dockerfile.env['RAFTQ_DATA_DIR']}" in str(
        dockerfile.stages[-1]
    )


def test_only_what_is_copied_gets_into_the_build():
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = set()
    for one in Dockerfile().stages[0]:
        if one.word == "COPY":
            copied |= set(one.value.split()[:-1])
    assert copied == let_in
    assert all((REPOSITORY / name).exists() for name in copied)


# --- the compose file ----------------------------------------------------------------------------


def test_the_compose_file_is_one(compose):
    PyCompose.from_yaml(yaml.safe_dump(compose.document))


def test_the_check_of_the_compose_file_can_fail(compose):
    compose.services["n1"]["healthcheck"] = {"interval": "5 parsecs"}
    with pytest.raises(ValueError, match="duration"):
        PyCompose.from_yaml(yaml.safe_dump(compose.document))


def test_ports_are_published_on_loopback_alone_and_once(compose):
    published = [
        port.rpartition(":")[0]
        for service in compose.services.values()
        for port in service.get("ports", ())
    ]
    assert len(published) == len(set(published)) == 7
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_services_are_bounded_and_hardened(compose):
    for name, service in compose.services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["mem_limit"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "privileged" not in service, name
    for name in (*NODES, "prometheus"):
        assert compose.services[name]["restart"] == "unless-stopped"
        assert compose.services[name]["depends_on"]["secrets"] == {
            "condition": "service_completed_successfully"
        }


def test_volumes_are_declared_and_used_and_files_are_there(compose):
    sources = {
        mount.partition(":")[0]
        for service in compose.services.values()
        for mount in service.get("volumes", ())
    }
    files = {source for source in sources if source.startswith("./")}
    assert sources - files == set(compose.document["volumes"])
    assert all((REPOSITORY / file).is_file() for file in files)


def test_the_authoritys_key_and_a_nodes_are_mounted_by_nobody_else(compose):
    for name, service in compose.services.items():
        mounted = {mount.partition(":")[0] for mount in service.get("volumes", ())}
        secrets = {volume for volume in mounted if volume.startswith(("secrets-", "authority"))}
        if name != "secrets":
            assert len(secrets) == 1, name
            assert "authority" not in secrets


@pytest.mark.parametrize("name", NODES)
def test_the_settings_of_a_node_are_complete_and_closed(compose, name, tmp_path):
    """As they are, beyond loopback: the node itself says whether that is safe."""
    given = {**Dockerfile().env, **compose.services[name]["environment"]}
    env = child_environment({**given, "PATH": ""})
    shown = subprocess.run(
        [sys.executable, "-m", "raftq_cluster", "config", "show"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert re.search(r"^insecure = false", shown.stdout, re.MULTILINE)
    assert re.search(rf'^node-id = "{name}"', shown.stdout, re.MULTILINE)
    assert re.search(rf'^peer-advertise = "{name}:7678"', shown.stdout, re.MULTILINE)
    assert compose.services[name]["hostname"] == name
    assert given["RAFTQ_DATA_DIR"] == "/var/lib/raftq"


def test_a_node_has_time_to_stop(compose, tmp_path):
    shown = subprocess.run(
        [sys.executable, "-m", "raftq_cluster", "config", "show"],
        cwd=tmp_path, env=child_environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    drain = re.search(r"^drain-ms = (\d+)", shown.stdout, re.MULTILINE)
    assert drain is not None
    for name in NODES:
        grace = compose.services[name]["stop_grace_period"]
        assert int(grace.removesuffix("s")) * 1_000 >= 2 * int(drain[1])


# --- Prometheus ----------------------------------------------------------------------------------


def rules() -> list[dict]:
    document = yaml.safe_load((REPOSITORY / "deploy/alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_every_node_is_scraped_under_a_job_that_the_alerts_know(compose):
    document = yaml.safe_load((REPOSITORY / "deploy/prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in document["scrape_configs"]}
    targets = jobs["raftq"]["static_configs"][0]["targets"]
    assert targets == [f"{name}:7677" for name in NODES]
    asked_for = set(
        re.findall(r'job="(\w+)"', json.dumps([rule["expr"] for rule in rules()]).replace("\\", ""))
    )
    assert asked_for <= set(jobs)
    mounted = [mount.split(":")[1] for mount in compose.services["prometheus"]["volumes"]]
    folder = "/etc/prometheus/"
    assert folder + "prometheus.yml" in compose.services["prometheus"]["command"][0]
    assert {folder + file for file in document["rule_files"]} <= set(mounted)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_can_be_read_and_says_what_to_do(rule):
    promql_parser.parse(rule["expr"])
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]

"""What the Dockerfile and the compose file say, read and carried out without an engine.

Paths of a container become paths below a folder of its own, names of services become addresses of loopback,
and all users are this user. Everything else, commands, flags and variables, is taken as it is written;
what cannot be carried out is an error, not left out.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from dockerfile_parse import DockerfileParser

from tests.support.node_process import REPOSITORY

DOCKERFILE: Final = REPOSITORY / "Dockerfile"
COMPOSE_FILE: Final = REPOSITORY / "docker-compose.cluster.yml"
BUILD_S: Final = 400.0  # a virtual environment is filled from the package index
# Heads of paths that belong to a container; any other absolute path in a command is an error.
_OWN_PATHS: Final = ("/opt", "/src", "/wheels", "/data", "/var/lib/raftq", "/secrets", "/deploy")
_HOST_PATHS: Final = ("/usr/local/bin", "/usr/bin", "/bin")
_PATH: Final = re.compile(r"(?<![\w./-])/[A-Za-z][\w./-]*")
_EVERY_ADDRESS: Final = "0.0.0.0"


class Instruction(NamedTuple):
    """One line of a Dockerfile."""

    word: str
    value: str


class Dockerfile:
    """The stages of the Dockerfile, and what a container of the last one starts with."""

    def __init__(self) -> None:
        self.stages: list[list[Instruction]] = []
        self.arguments: dict[str, str] = {}
        with DOCKERFILE.open("rb") as file:
            structure = DockerfileParser(fileobj=file).structure
        for one in structure:
            instruction = Instruction(one["instruction"], one["value"])
            if instruction.word == "ARG":
                name, _, default = instruction.value.partition("=")
                self.arguments[name] = default
            elif instruction.word == "FROM":
                self.stages.append([instruction])
            elif instruction.word != "COMMENT":
                self.stages[-1].append(instruction)

    def said(self, word: str) -> str:
        """The value of an instruction that the last stage has once."""
        (value,) = [one.value for one in self.stages[-1] if one.word == word]
        return value

    @property
    def env(self) -> dict[str, str]:
        """The variables of a container."""
        pairs = (pair.partition("=") for pair in shlex.split(self.said("ENV")))
        return {name: value for name, _, value in pairs}

    @property
    def entrypoint(self) -> list[str]:
        """What a container runs."""
        return list(json.loads(self.said("ENTRYPOINT")))

    @property
    def healthcheck(self) -> list[str]:
        """The command that tells how a container is."""
        return list(json.loads(self.said("HEALTHCHECK").partition("CMD")[2]))


class Sandbox:
    """A folder that stands for the file system of a container."""

    def __init__(self, root: Path, addresses: Mapping[str, str] | None = None) -> None:
        self.root = root
        self._addresses = dict(addresses or {})  # of services, by their names

    def path(self, inside: str) -> Path:
        """Where a path of the container is."""
        assert inside.startswith("/"), inside
        return self.root / inside.lstrip("/")

    def text(self, said: str, own_name: str = "") -> str:
        """Translate a word or a command. ``own_name`` is the service that says it."""
        said = _PATH.sub(lambda found: self._path(found[0]), said)
        for name, address in self._addresses.items():
            said = re.sub(rf"(?<![\w.-]){name}(?=:\d)", address, said)
        return said.replace(_EVERY_ADDRESS, self._addresses.get(own_name, _EVERY_ADDRESS))

    def _path(self, said: str) -> str:
        if any(said == head or said.startswith(f"{head}/") for head in _HOST_PATHS):
            return said
        assert any(said == head or said.startswith(f"{head}/") for head in _OWN_PATHS), said
        return str(self.path(said))


def build(dockerfile: Dockerfile, sandbox: Sandbox) -> None:
    """Carry out the Dockerfile. All stages have one root, so that paths stay what they are."""
    folder = sandbox.root
    for stage in dockerfile.stages:
        for word, value in stage:
            if word == "WORKDIR":
                folder = sandbox.path(value)
                folder.mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                _copy(value, folder, sandbox)
            elif word == "RUN":
                _run(sandbox.text(value), folder)


def _copy(value: str, folder: Path, sandbox: Sandbox) -> None:
    words = shlex.split(value)
    from_stage = any(word.startswith("--from=") for word in words)
    *sources, target = [word for word in words if not word.startswith("--")]
    for source in sources:
        there = sandbox.path(source) if from_stage else REPOSITORY / source
        here = sandbox.path(target) if target.startswith("/") else folder / target
        if there.is_file():
            shutil.copy2(there, here)
        elif there != here:
            shutil.copytree(there, here, dirs_exist_ok=True)


def _run(command: str, folder: Path) -> None:
    python = str(Path(sys.executable).parent)  # where "python" of the base image is, here
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        ["sh", "-euc", command],
        cwd=folder,
        env={**env, "PATH": f"{python}:/usr/local/bin:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        timeout=BUILD_S,
        check=True,
    )


class Container:
    """One service of the compose file as a process would see it."""

    def __init__(self, name: str, service: Mapping[str, Any], sandbox: Sandbox) -> None:
        self.name = name
        self.sandbox = sandbox
        self._service = service

    def command(self, entrypoint: Sequence[str]) -> list[str]:
        """What it runs; ``entrypoint`` is its image's."""
        words = [*self._service.get("entrypoint", entrypoint), *self._service.get("command", ())]
        return [self.sandbox.text(str(word), self.name) for word in words]

    def environment(self, image_env: Mapping[str, str]) -> dict[str, str]:
        """Its variables, with programs from this environment."""
        programs = str(Path(sys.executable).parent)
        given = {**image_env, **self._service.get("environment", {})}
        own = {name: self.sandbox.text(str(said), self.name) for name, said in given.items()}
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return {**kept, **own, "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin"}


class Compose:
    """The compose file, with its volumes as folders below ``root``."""

    def __init__(self, root: Path, addresses: Mapping[str, str]) -> None:
        self.document: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
        self.services: dict[str, dict[str, Any]] = self.document["services"]
        self._root = root
        self._addresses = addresses

    def container(self, name: str) -> Container:
        """Mount the volumes of a service and give its container."""
        service = self.services[name]
        sandbox = Sandbox(self._root / "containers" / name, self._addresses)
        for mount in service.get("volumes", ()):
            source, inside, *_mode = mount.split(":")
            here = sandbox.path(inside)
            here.parent.mkdir(parents=True, exist_ok=True)
            if not here.is_symlink():
                here.symlink_to(self._source(source))
        return Container(name, service, sandbox)

    def _source(self, source: str) -> Path:
        if source.startswith("./"):
            return REPOSITORY / source
        folder = self._root / "volumes" / source
        folder.mkdir(parents=True, exist_ok=True)
        return folder

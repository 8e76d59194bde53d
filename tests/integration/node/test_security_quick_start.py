"""The first minute of ``docs/security.md``, run in a shell as they stand there, but for the ports."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.node_process import REPOSITORY, child_environment

COMMANDS = re.search(
    r"^## The first minute\n\n((?:    .*\n)+)",
    (REPOSITORY / "docs/security.md").read_text(),
    re.MULTILINE,
)


def test_the_first_minute_of_the_guide_works(tmp_path: Path) -> None:
    assert COMMANDS is not None
    lines = [line.strip() for line in COMMANDS[1].splitlines()]
    assert len(lines) == 6
    umask, *lines = lines
    assert umask.startswith("umask 077")
    # The ports are of this machine: let the system choose them, and wait until the node has said them.
    node, url = lines[2], lines[3]
    ports = "--http 127.0.0.1:0 --text 127.0.0.1:0 --peer 127.0.0.1:0 >ready 2>log &"
    assert node.endswith(" &")
    lines[2] = f"{node.removesuffix(' &')} {ports}\nnode=$!"
    assert "127.0.0.1:7979" in url
    lines[3] = (
        "for _ in $(seq 600); do grep -q ready ready && break; sleep 0.05; done\n"
        + url.replace("127.0.0.1:7979", "$(sed 's/.*text=//; s/ .*//' ready)")
    )
    script = "\n".join(["set -e", "trap 'kill $node' EXIT", umask, *lines, "raftq tasks emails"])
    env = child_environment()
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert '"queue":"emails"' in ran.stdout.splitlines()[-1].replace(" ", "")
    assert (tmp_path / "ops.token").stat().st_mode & 0o077 == 0

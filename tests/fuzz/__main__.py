"""``scripts/fuzz``: searches, keeps what they find, and writes the seeds anew."""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz.corpus import (
    FOUND_BYTES_MAX,
    FOUND_MAX,
    NAMES,
    keep,
    kept,
    seeded,
    target,
    word_of,
)

SCRATCH: Final = Path(".fuzz")  # what searches have met so far; not part of the repository
INPUT_BYTES_MAX: Final = 4_096
INPUT_S_MAX: Final = 20  # for one input: then it hangs
MEMORY_MIB_MAX: Final = 1_024
_STATISTIC: Final = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)


class Search(NamedTuple):
    """What came of one."""

    name: str
    seconds: float
    executions: int
    met: int  # inputs that met something new, of this and earlier searches
    peak_mib: int
    crashes: list[Path]  # new files
    code: int = 0  # of its end: a crash that is in a file already has no new one

    def what_came(self) -> str:
        """The end of its line in the table."""
        words = [str(path) for path in self.crashes]
        if self.code or not self.executions:
            words.append(f"it did not come to its end (exit code {self.code})")
        return " ".join(words) or "none"

    def is_clean(self) -> bool:
        """Whether it has searched, and found nothing."""
        return bool(self.executions) and not (self.crashes or self.code)


def search(name: str, seconds: int) -> Search:
    """Search one target for so long."""
    corpus, crashes = SCRATCH / name, SCRATCH / "crashes"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(exist_ok=True)
    for word, data in kept(name).items():
        (corpus / word).write_bytes(data)
    before = set(crashes.iterdir())
    flags = [
        f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_S_MAX}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}", f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1",
        "-verbosity=1", str(corpus),
    ]  # fmt: skip
    began_s = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.searching", name, *flags],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    took_s = time.monotonic() - began_s
    found = sorted(set(crashes.iterdir()) - before)
    if found or ran.returncode:
        print(ran.stdout[-3_000:], ran.stderr[-3_000:], sep="\n", file=sys.stderr)
    statistics = {word: int(number) for word, number in _STATISTIC.findall(ran.stderr)}
    return Search(
        name, took_s, statistics.get("number_of_executed_units", 0), sum(1 for _ in corpus.iterdir()),
        statistics.get("peak_rss_mb", 0), found, ran.returncode,
    )  # fmt: skip


def keep_found(name: str) -> None:
    """Keep what searches have met that nothing that is kept meets: libFuzzer tells."""
    corpus, least = SCRATCH / name, SCRATCH / f"{name}.least"
    least.mkdir(exist_ok=True)
    for path in least.iterdir():
        path.unlink()
    for word, data in seeded(name).items():
        (least / word).write_bytes(data)
    words = set(seeded(name))
    again = (SCRATCH / f"search-{name}").absolute()
    again.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.fuzz.searching {name} "$@"\n')
    again.chmod(0o700)
    subprocess.run(
        [sys.executable, "-m", "tests.fuzz.searching", name, "-merge=1", str(least), str(corpus)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"RAFTQ_FUZZ_AGAIN": str(again)},
        check=True,
    )
    new = sorted((path.read_bytes() for path in least.iterdir() if path.name not in words), key=len)
    inputs = seeded(name)
    room = FOUND_MAX - sum(1 for word in inputs if word.startswith("found-"))
    fitting = [data for data in new if len(data) <= FOUND_BYTES_MAX and data not in inputs.values()]
    keep(name, inputs | {word_of(data): data for data in fitting[: max(0, room)]})


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("target", choices=[*NAMES, "all", "seeds"], help="which; seeds: write them")
    parser.add_argument("--seconds", type=int, default=60, help="of each search (60)")
    parser.add_argument(
        "--keep", action="store_true", help="keep what is found in tests/fuzz/corpus"
    )
    parser.add_argument("--input", type=Path, help="give the target this file, and nothing else")
    options = parser.parse_args()
    if options.target == "seeds":
        for name in NAMES:
            keep(name, seeded(name))
        return 0
    if options.input is not None:
        target(options.target).fuzz(options.input.read_bytes())
        print("its properties hold")
        return 0
    names = NAMES if options.target == "all" else (options.target,)
    print(f"{'target':18}{'executions':>12}{'a second':>10}{'inputs':>8}{'MiB':>6}  crashes")
    is_clean = True
    for name in names:
        done = search(name, options.seconds)
        rate = done.executions / max(done.seconds, 1)
        print(
            f"{name:18}{done.executions:12,}{rate:10,.0f}{done.met:8}{done.peak_mib:6}  {done.what_came()}",
            flush=True,
        )
        is_clean = is_clean and done.is_clean()
        if options.keep:
            keep_found(name)
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())

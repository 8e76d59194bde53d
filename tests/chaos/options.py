"""What one run is about: enough to repeat its schedule."""

from typing import NamedTuple


class Options(NamedTuple):
    """``faults`` empty: every kind. ``rounds`` 0: as many as ``minutes`` hold."""

    seed: int
    nodes: int = 3
    minutes: float = 1.0
    faults: tuple[str, ...] = ()
    proxies: bool = False  # even where namespaces could be made
    plant: str = ""  # a bug that the nodes have
    only: int = 0  # this round alone, counted from 1
    keep: bool = False
    out: str = ""
    alone: bool = False  # one fault at a time

    def command(self, number: int = 0) -> str:
        """The one command that repeats the schedule, or that of one round."""
        parts = [f"scripts/chaos --seed {self.seed} --nodes {self.nodes}",
                 f"--minutes {self.minutes:g}"]  # fmt: skip
        if self.faults:
            parts.append(f"--faults {','.join(self.faults)}")
        if self.proxies:
            parts.append("--proxies")
        if self.alone:
            parts.append("--alone")
        if self.plant:
            parts.append(f"--plant {self.plant}")
        if number or self.only:
            parts.append(f"--round {number or self.only}")
        return " ".join(parts)

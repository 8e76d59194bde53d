"""What one simulation is about: enough to repeat it exactly."""

from typing import NamedTuple


class Options(NamedTuple):
    """``faults`` and ``clients`` None: all that the seed gives."""

    seed: int
    nodes: int = 3
    seconds: float = 60.0  # of faults; what comes after is the liveness phase
    faults: tuple[int, ...] | None = None  # by number
    clients: tuple[int, ...] | None = None  # by number
    plant: str = ""  # a bug that the nodes have

    def command(self) -> str:
        """The one command that repeats it."""
        parts = [f"scripts/simulate --seed {self.seed} --nodes {self.nodes}",
                 f"--minutes {self.seconds / 60:.6g}"]  # fmt: skip
        for name, numbers in (("faults", self.faults), ("clients", self.clients)):
            if numbers is not None:
                parts.append(f"--{name} {','.join(map(str, numbers)) or 'none'}")
        if self.plant:
            parts.append(f"--plant {self.plant}")
        return " ".join(parts)

"""One machine of a simulated cluster: a disk and clocks that stay, and processes that come and go.

A process is what ``raftqd`` is without its servers: the service over the Raft backend. A supervisor starts it again
when it ends, as systemd would.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from raftq_cluster.backends.raft.backend import RaftBackend
from raftq_cluster.backends.raft.formation import Initial, Plan
from raftq_cluster.backends.raft.log_clock import LogClock
from raftq_cluster.backends.raft.running import Outside
from raftq_cluster.config import StartError
from raftq_cluster.service.facade import Service
from raftq_cluster.service.ids import id_source
from tests.simulation.clock import ProcessClock
from tests.simulation.disk import SimDisk, SimRunner, in_thread
from tests.simulation.network import SimNetwork
from tests.simulation.process import ProcessLoop
from tests.simulation.states import states_of
from tests.simulation.world import NS_PER_S, Event
from tests.support.virtual_disk import Loss

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

DIRECTORY: Final = Path("/node")
RESTART_S: Final = 1.0
DAMAGED_RESTART_S: Final = 5.0


class SimNode:
    """``name`` is its id and that of its machine. The parts of its process are there from ``start`` on."""

    process: ProcessLoop
    service: Service
    backend: RaftBackend
    network: SimNetwork

    def __init__(self, cluster: "Cluster", name: str, plan: Plan) -> None:
        world = cluster.world
        self.cluster = cluster
        self.name = name
        self.plan = plan
        self.address = f"127.0.0.1:{7000 + len(cluster.nodes)}"
        self.chance = world.random(f"node/{name}")
        self.disk = SimDisk(self.chance.getrandbits(32))
        self.clock = ProcessClock(world, offset_ns=self.chance.randrange(20_000_000))
        self.lives = 0
        self.probe: Any = None  # of the running process
        self.is_serving = False  # its start is complete
        self.has_served = False  # in this life or one before
        self.is_damaged = False  # its directory may hold what a disk should not: it may refuse it
        self.is_removed = False  # it was a member
        self.is_leaving = False  # it was ordered to be removed or replaced
        self.is_draining = False  # it was told to stop
        self.has_failing_disk = False  # errors were injected into this life
        self.may_start = True  # the supervisor may start it
        self.may_run: Callable[[], bool] = lambda: (
            True
        )  # at the moment; asked at its start and in each turn
        self._start: Event | None = None  # when the supervisor will start it
        self.on_lack: Callable[[Any], None] = lambda _running: None  # damaged, and has not noticed
        self.ended: Callable[[], None] = lambda: None
        self.disk.on_cut = self._on_cut

    @property
    def is_first(self) -> bool:
        """Whether the cluster was formed with it."""
        return isinstance(self.plan, Initial)

    @property
    def is_waiting(self) -> bool:
        """Whether it is a new one that was never added, as far as it knows."""
        is_new = not (self.is_first or self.has_served or self.is_damaged or self.is_leaving)
        return is_new and self.is_alive and self.engine is None

    @property
    def is_alive(self) -> bool:
        return self.lives > 0 and self.process.is_alive

    @property
    def running(self) -> Any:
        """What runs in the process, None while nothing does yet."""
        return self.backend._running if self.is_alive else None

    @property
    def engine(self) -> Any:
        """The engine of the running process, None while there is none."""
        running = self.running
        return running.engine if running is not None else None

    def start(self) -> None:
        """Begin another life, unless one is going on."""
        if self.is_alive or not self.may_start or self.is_removed:
            return
        if not self.may_run():
            self.start_later()
            return
        world, cluster = self.cluster.world, self.cluster
        label = f"{self.name}.{self.lives + 1}"
        chance = world.random(f"life/{label}")
        process = ProcessLoop(world, self.clock, label, lambda text: self._complain(process, text))
        self.process = process
        self.lives += 1
        self.is_serving = self.is_draining = False
        self.probe = None
        process.after_turn = self._turned
        self.has_failing_disk = bool(self.disk.faults)
        process.node = self
        network = SimNetwork(cluster.fabric, process, self.name, self.address)
        self.network = network
        self.backend = RaftBackend(
            DIRECTORY,
            node_id=self.name,
            on_fatal=lambda sentence: self._on_fatal(process, sentence),
            outside=Outside(
                files=self.disk,
                runner=lambda: SimRunner(process, self.disk, chance, lambda: cluster.watch(self)),
                in_thread=in_thread(process, self.disk, chance),
                clock=LogClock(self.clock.wall_ns, self.clock.monotonic_ns),
                random=chance,
                monotonic=self.clock.monotonic_s,
                network=network,
                plan=self.plan,
                bounds=cluster.bounds,
                segment_bytes=cluster.segment_bytes,
            ),
        )
        self.service = Service(self.backend, ids=id_source(f"{label}."))
        world.note(f"{self.name} starts, life {self.lives}")
        cluster.coverage.lives += 1
        service = self.service
        process.spawn(lambda: self._serve(process, service))

    def _turned(self) -> None:
        if not self.may_run():
            self.kill("killed: it must not run now")
            self.start_later()
            return
        if self.probe is not None:
            self.probe.look()
        if self.cluster.hunters:
            self.cluster.turned(self)

    async def _serve(self, process: ProcessLoop, service: Service) -> None:
        try:
            await service.start()
        except StartError as error:
            self._on_fatal(process, f"start: {error}")
        else:
            self.is_serving = self.has_served = True

    # --- ends -----------------------------------------------------------------------------------

    def kill(self, why: str) -> None:
        """SIGKILL: the files stay as they were written."""
        if self.is_alive:
            self._end(why, is_silent=False)
            self.disk.kill()

    def cut_power(self, loss: Loss, why: str = "power cut") -> None:
        """What was not synced is lost, or torn, or out of order."""
        if self.is_alive:
            self._end(f"{why} ({loss.name})", is_silent=True)
        self.disk.cut_power(loss)

    def end_silently(self, why: str) -> None:
        """Its power is gone in the middle of a call: what becomes of its disk is another matter."""
        if self.is_alive:
            self._end(why, is_silent=True)

    def stop(self) -> None:
        """SIGTERM: a clean end."""
        if not self.is_alive or not self.is_serving:
            return
        process, service = self.process, self.service
        self.cluster.world.note(f"{self.name} is told to stop")
        self.is_draining = True

        async def stop() -> None:
            await service.stop()
            if process.is_alive:
                self._end("stopped", is_silent=False)
                self.disk.kill()
                self.start_later()

        process.spawn(stop)

    def take_snapshot(self) -> None:
        """Have it take a snapshot, and from now on keep no log behind snapshots, whoever lags."""
        running = self.running
        if running is None:
            return
        upkeep = running._upkeep
        bounds = upkeep._bounds._replace(entries_kept=0, bytes_lagging=0)

        def take() -> None:
            upkeep._bounds = bounds._replace(bytes_between_min=0)
            upkeep._last_bytes = 0
            upkeep.consider()
            upkeep._bounds = bounds

        self.process.deliver(take)

    def start_later(self, after_s: float = RESTART_S) -> None:
        """Let the supervisor start it again; sooner if it was about to anyway."""
        world = self.cluster.world
        at_ns = world.now_ns + round(after_s * NS_PER_S)
        due = self._start
        if due is not None and due.action is not None:
            if due.at_ns <= at_ns:
                return
            due.cancel()
        self._start = world.at(at_ns, self.start)

    def _end(self, why: str, *, is_silent: bool) -> None:
        process = self.process
        self.cluster.world.note(f"{self.name} ends: {why}")
        process.kill()
        self.is_serving = False
        self.cluster.graveyard.append((process, self.backend, self.service))
        self.cluster.fabric.gone(self.network, is_silent=is_silent)
        self.cluster.probes.forget(self)
        self.ended()

    def _on_cut(self) -> None:
        """The disk is in the middle of a call that the power cut has interrupted."""
        if self.is_alive:
            self.cluster.coverage.note("(an aimed cut hits)", states_of(self))
            self._end("aimed power cut", is_silent=True)
            loss = self.chance.choice(list(Loss))
            after_s = 0.2 + self.chance.random()
            world = self.cluster.world

            def come_back() -> None:
                if not self.is_alive:
                    self.disk.cut_power(loss)
                    self.start()

            world.after_s(after_s, come_back)

    def _on_fatal(self, process: ProcessLoop, sentence: str) -> None:
        """The node says that it cannot go on: its process ends, which must have had a reason."""
        if self.process is not process or not process.is_alive:
            return
        self.cluster.world.note(f"{self.name} gives up: {sentence}")
        if "was removed from cluster" in sentence:
            self.cluster.note_removed(self, sentence)
        elif not (self.has_failing_disk or self.is_damaged or self.disk.faults
                  or self.disk.capacity_bytes is not None):  # fmt: skip
            self.cluster.judge.blame(f"{self.name} stopped without a reason: {sentence}")
        self.cluster.world.after_s(0.0, lambda: self._exit(process))

    def _exit(self, process: ProcessLoop) -> None:
        if self.process is process and process.is_alive:
            self._end("exit", is_silent=False)
            self.disk.kill()
            if not self.is_removed:
                self.start_later(DAMAGED_RESTART_S if self.is_damaged else RESTART_S)

    def _complain(self, process: ProcessLoop, text: str) -> None:
        if process.is_alive:
            self.cluster.judge.blame(f"{process.name}: {text}")

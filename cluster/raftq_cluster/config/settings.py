"""The settings of a node: names, types, defaults and what they are for, in one table.

A setting has one name in three spellings: the flag ``--data-dir``, the variable ``RAFTQ_DATA_DIR`` and
the key ``data-dir`` of ``raftq.toml``. Knows nothing of where a value came from (``loading``) nor of
what is done with it (``node``). Source: docs/operations.md.
"""

import re
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, fields

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

Bytes = Annotated[int, Meta(ge=KIB, le=1024 * GIB, extra={"metavar": "SIZE"})]
Count = Annotated[int, Meta(ge=1, le=1_000_000, extra={"metavar": "N"})]

EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - told apart, not listened on


class Address(NamedTuple):
    """Where a server listens. Port 0 lets the system choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``HOST:PORT``; an IPv6 address stands in brackets.

        Raises:
            ValueError: it is not that, or the port is not from 0 to 65535.
        """
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(text)
        if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65_536):
            raise ValueError(text)
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it, as far as its spelling tells."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def reached(self, peer: str) -> "Address":
        """Where others reach who listens here: where it is everywhere, the host of ``peer`` (``HOST:PORT``)."""
        if self.host in EVERYWHERE and peer:
            return Address(Address.parse(peer).host, self.port)
        return self

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_PASSWORD: Final = re.compile(r"(?<=//)([^:@/]*:).*(?=@)|(?<=password=)(?:'[^']*'|[^&\s]*)")
JOIN_WAIT: Final = "wait"  # for ``--join``: until a leader comes
NODE_ID: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


def without_password(dsn: str) -> str:
    """Write a DSN as it may be shown and logged."""
    return _PASSWORD.sub(r"\1***", dsn)


def peer_addresses(text: str) -> tuple[str, ...]:
    """Read ``HOST:PORT,...``; "" is none.

    Raises:
        ValueError: it is not that.
    """
    words = [word.strip() for word in text.split(",")] if text else []
    addresses = [Address.parse(word) for word in words]
    if not all(address.port for address in addresses):
        raise ValueError(text)
    return tuple(str(address) for address in addresses)


def join_addresses(text: str) -> tuple[str, ...]:
    """Read ``HOST:PORT,...``, or ``wait``, which is none. Raises as :func:`peer_addresses`."""
    return () if text == JOIN_WAIT else peer_addresses(text)


def initial_members(text: str) -> dict[str, str]:
    """Read ``ID=HOST:PORT,...`` as id -> ``HOST:PORT``; "" is none.

    Raises:
        ValueError: it is not that, or an id or an address is there twice.
    """
    pairs = [word.strip().partition("=") for word in text.split(",")] if text else []
    members = {name: str(Address.parse(address)) for name, _, address in pairs}
    is_each_named = all(re.fullmatch(NODE_ID, name) for name in members)
    if not is_each_named or len(set(members.values())) != len(pairs):
        raise ValueError(text)
    return members


_Listen = Annotated[Address, Meta(extra={"metavar": "HOST:PORT"})]


class Settings(Struct, frozen=True, kw_only=True):
    """All that an operator can decide. The order is that of ``--help``."""

    data_dir: Annotated[
        str, Meta(min_length=1, description="where the journal and the snapshots are kept")
    ] = "./raftq-data"
    http: Annotated[_Listen, Meta(description="listen for HTTP")] = Address("127.0.0.1", 7677)
    text: Annotated[_Listen, Meta(description="listen for the text protocol")] = Address(
        "127.0.0.1", 7979
    )
    peer: Annotated[_Listen, Meta(description="listen for the other nodes")] = Address(
        "127.0.0.1", 7678
    )
    peer_advertise: Annotated[
        str,
        Meta(
            description="where the other nodes reach this one, if it is not where it listens",
            extra={"metavar": "HOST:PORT"},
        ),
    ] = ""
    initial_cluster: Annotated[
        str,
        Meta(
            description="all nodes of a new cluster, the same on each; ignored once it has formed",
            extra={"metavar": "ID=HOST:PORT,..."},
        ),
    ] = ""
    join: Annotated[
        str,
        Meta(
            description="peer addresses of members of the cluster to join, or wait to be added;"
            " ignored once joined",
            extra={"metavar": "HOST:PORT,..."},
        ),
    ] = ""
    peer_cert: Annotated[
        str, Meta(description="certificate of this node for peers (PEM)", extra={"metavar": "FILE"})
    ] = ""
    peer_key: Annotated[
        str, Meta(description="key of that certificate (PEM)", extra={"metavar": "FILE"})
    ] = ""
    peer_ca: Annotated[
        str,
        Meta(description="authority that signs all nodes (PEM)", extra={"metavar": "FILE"}),
    ] = ""
    tls_cert: Annotated[
        str,
        Meta(
            description="certificate of this node for clients (PEM); HTTP and text are TLS then",
            extra={"metavar": "FILE"},
        ),
    ] = ""
    tls_key: Annotated[
        str, Meta(description="key of that certificate (PEM)", extra={"metavar": "FILE"})
    ] = ""
    tls_ca: Annotated[
        str,
        Meta(
            description="authority that signs clients (PEM): those without a certificate are refused",
            extra={"metavar": "FILE"},
        ),
    ] = ""
    tokens: Annotated[
        str,
        Meta(
            description="who may do what (raftq token new); without it, everybody everything",
            extra={"metavar": "FILE"},
        ),
    ] = ""
    node_id: Annotated[
        str,
        Meta(
            pattern=f"^({NODE_ID})?$",
            description="name of this node; kept in the data directory at first start",
            extra={"metavar": "NAME"},
        ),
    ] = ""
    backend: Annotated[
        Literal["raft", "memory", "postgres"],
        Meta(
            description="raft keeps tasks on disk; memory forgets them when the node stops;"
            " postgres keeps them in a database"
        ),
    ] = "raft"
    postgres_dsn: Annotated[
        str,
        Meta(
            description="the database, as postgresql://USER@HOST/NAME; PGPASSWORD and ~/.pgpass are read",
            extra={"metavar": "DSN"},
        ),
    ] = ""
    postgres_schema: Annotated[
        str,
        Meta(
            pattern="^[a-z_][a-z0-9_]{0,49}$",
            description="schema that the tables are in",
            extra={"metavar": "NAME"},
        ),
    ] = "raftq"
    postgres_poll: Annotated[
        bool,
        Meta(description="keep nothing beyond a transaction, as PgBouncer needs; do not listen"),
    ] = False
    insecure: Annotated[
        bool, Meta(description="allow other machines to connect although nothing protects the node")
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least level that is logged")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "text", "json"],
        Meta(description="auto is text (key=value) on a terminal and JSON elsewhere"),
    ] = "auto"
    drain_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="how long a stopping node waits for its clients",
            extra={"metavar": "MS"},
        ),
    ] = 10_000
    clock_skew_ms_max: Annotated[
        int,
        Meta(
            ge=10,
            le=60_000,
            description="a node whose clock differs by more from the others' does not lead",
            extra={"metavar": "MS"},
        ),
    ] = 500
    snapshot_bytes: Annotated[
        Bytes, Meta(description="log between two snapshots, at least; a restart replays as much")
    ] = 32 * MIB
    body_bytes_max: Annotated[Bytes, Meta(description="largest request")] = 4 * MIB
    value_bytes_max: Annotated[Bytes, Meta(description="largest value of a task")] = MIB
    bytes_held_max: Annotated[
        Bytes,
        Meta(description="values and tasks held; above it inserts are refused, deletes are not"),
    ] = 4 * GIB
    disk_free_bytes_min: Annotated[
        Bytes, Meta(description="free disk space below which inserts are refused, deletes are not")
    ] = 64 * MIB
    operations_max: Annotated[Count, Meta(description="parts of one modification")] = 1_000
    connections_max: Annotated[Count, Meta(description="connections, of each protocol")] = 4_096
    waiters_max: Annotated[Count, Meta(description="claims that wait for a task")] = 10_000
    text_rate_max: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="requests a second of one text connection, twice as many at once; more wait. 0: no limit",
            extra={"metavar": "N"},
        ),
    ] = 0
    acked_ends: Annotated[
        Literal["auto", "line_end", "space"],
        Meta(
            description="how the replies to ack end: a space for TaskQ's Go client as soon as it shows itself, or always so"
        ),
    ] = "auto"

    @property
    def has_files(self) -> bool:
        """Whether there are files to read again: tokens, certificates."""
        return bool(self.tokens or self.tls_cert or self.peer_cert)


class Option(NamedTuple):
    """One setting as an operator meets it."""

    name: str  # of the field
    type: Any
    default: Any
    help: str
    metavar: str

    @property
    def key(self) -> str:
        """Its key in ``raftq.toml``."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        """Its flag."""
        return "--" + self.key

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "RAFTQ_" + self.name.upper()

    @property
    def choices(self) -> tuple[str, ...]:
        """The words it may be; empty where it is not a choice of words."""
        return get_args(self.plain_type) if get_origin(self.plain_type) is Literal else ()

    @property
    def plain_type(self) -> Any:
        """The type without its constraints."""
        return get_args(self.type)[0]

    @property
    def takes_no_value(self) -> bool:
        """Whether the flag stands alone."""
        return self.plain_type is bool


def _option(field: FieldInfo) -> Option:
    assert field.default is not NODEFAULT, f"{field.name} needs a default"
    metavar = ""
    description = ""
    for meta in get_args(field.type)[1:]:
        description = meta.description or description
        metavar = (meta.extra or {}).get("metavar", metavar)
    return Option(field.name, field.type, field.default, description, metavar)


OPTIONS: Final[dict[str, Option]] = {field.name: _option(field) for field in fields(Settings)}

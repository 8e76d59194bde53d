"""Where settings come from: ``raftq.toml``, then ``RAFTQ_…`` variables, then flags; the last wins.

Every value keeps its origin for ``raftqd config show``. Every refusal is one sentence that names the
flag, variable or key. Does not open ports or data: what only the machine can tell is found at start.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from raftq_cluster.config.errors import EXIT_USAGE, StartError
from raftq_cluster.config.settings import (
    GIB,
    KIB,
    MIB,
    OPTIONS,
    Address,
    Option,
    Settings,
    initial_members,
    join_addresses,
    peer_addresses,
)

DEFAULT_FILE: Final = "raftq.toml"
CONFIG_FLAG: Final = "--config"
CONFIG_VARIABLE: Final = "RAFTQ_CONFIG"
FILE_BYTES_MAX: Final = 1 * MIB  # a settings file is some kilobytes; anything larger is a mistake
_SUFFIXES: Final = {"KiB": KIB, "MiB": MIB, "GiB": GIB}
_SIMILARITY: Final = 0.8  # how near a name must be to be offered as what was meant
_SHAPES: Final = {
    "node_id": "a name of at most 63 letters, digits, '.', '_' and '-'",
    "postgres_schema": "a name of at most 50 small letters, digits and underscores",
}
# Not of the node, but of those who use one: no mistakes here.
_CLIENT_VARIABLES: Final = {
    f"RAFTQ_{name}" for name in ("URL", "TOKEN", "TOKEN_FILE", "CA", "CERT", "KEY", "CLAIMANT")
}
_OWN_VARIABLES: Final = {CONFIG_VARIABLE} | _CLIENT_VARIABLES


class Loaded(NamedTuple):
    """Settings, where each came from (``default``, a file, a variable or a flag), and warnings."""

    settings: Settings
    origins: dict[str, str]
    warnings: tuple[str, ...]


def load(
    flags: Mapping[str, str | bool | None],
    environ: Mapping[str, str],
    *,
    config: str | None = None,
    directory: Path,
) -> Loaded:
    """Gather the settings. ``flags`` has option names; None means that the flag was not given.

    Args:
        flags: what the command line said.
        environ: the process's environment; an empty variable counts as unset.
        config: the file that ``--config`` named.
        directory: where ``raftq.toml`` is looked for if nothing names a file.

    Raises:
        StartError: with the exit code for a usage error.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(OPTIONS, "default")
    for option, raw, origin, strict in _given(flags, environ, config, directory):
        values[option.name] = _read(option, raw, origin, strict=strict)
        origins[option.name] = origin
    settings = Settings(**values)
    _check_together(settings, origins)
    return Loaded(settings, origins, tuple(_near_misses(environ)))


_Given: TypeAlias = Iterator[tuple[Option, Any, str, bool]]  # setting, raw value, origin, typed


def _given(
    flags: Mapping[str, str | bool | None],
    environ: Mapping[str, str],
    config: str | None,
    directory: Path,
) -> _Given:
    file = config or environ.get(CONFIG_VARIABLE)
    origin = CONFIG_FLAG if config else CONFIG_VARIABLE
    path = Path(file) if file else directory / DEFAULT_FILE
    if file or path.is_file():
        yield from _from_file(path, origin)
    for option in OPTIONS.values():
        if raw := environ.get(option.variable):
            yield option, raw, option.variable, False
    for name, value in flags.items():
        if value is not None:
            yield OPTIONS[name], value, OPTIONS[name].flag, False


def _from_file(path: Path, origin: str) -> _Given:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise _usage(f"{path} is larger than {FILE_BYTES_MAX} bytes, so it is no settings file")
        document = msgspec.toml.decode(data)
    except OSError as error:
        raise _usage(f"{origin}: {path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _usage(f"{path} is not TOML: {error}") from None
    by_key = {option.key: option for option in OPTIONS.values()}
    for key, value in document.items():
        if key not in by_key:
            raise _usage(f"{path} has the unknown key {key}{_meant(key, by_key)}")
        yield by_key[key], value, f"{path}, {key}", True


def _read(option: Option, raw: Any, origin: str, *, strict: bool) -> Any:
    try:
        if option.plain_type is Address:
            return Address.parse(raw)
        if option.metavar == "SIZE" and isinstance(raw, str):
            raw = _size(raw)
        return msgspec.convert(raw, option.type, strict=strict)
    except (msgspec.ValidationError, ValueError, AttributeError):
        raise _usage(f"{origin}: {raw!r} is not {_expected(option)}") from None


def _size(text: str) -> int:
    factor = _SUFFIXES.get(text[-3:], 1)
    return int(text[:-3] if factor > 1 else text) * factor


def _expected(option: Option) -> str:
    if option.choices:
        return " or ".join(option.choices)
    if option.plain_type is Address:
        return "HOST:PORT (an IPv6 host stands in brackets, port 0 lets the system choose)"
    if option.plain_type is bool:
        return "true or false"
    if option.plain_type is str:
        return _SHAPES.get(option.name, "a path")
    low, high = _bounds(option)
    unit = " bytes (KiB, MiB and GiB may follow the number)" if option.metavar == "SIZE" else ""
    return f"a whole number from {low} to {high}{unit}"


def _bounds(option: Option) -> tuple[int, int]:
    info = msgspec.inspect.type_info(option.type)
    while isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    assert isinstance(info, msgspec.inspect.IntType)
    assert info.ge is not None
    assert info.le is not None
    return info.ge, info.le


def _check_together(settings: Settings, origins: Mapping[str, str]) -> None:
    _check_clients(settings, origins)
    listening: dict[Address, str] = {}
    for name in ("http", "text", "peer"):
        address = getattr(settings, name)
        if address.port and address in listening:
            raise _usage(
                f"{_where(name, origins)}: {address} is what --{listening[address]} listens on already"
            )
        listening[address] = name
    _check_peers(settings, origins)


def _check_clients(settings: Settings, origins: Mapping[str, str]) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise _usage("--tls-cert and --tls-key belong together: give both")
    if settings.tls_ca and not settings.tls_cert:
        raise _usage("--tls-ca asks clients for certificates, which needs --tls-cert and --tls-key")
    lacking = [
        flags
        for flags, given in (
            ("--tls-cert and --tls-key", settings.tls_cert),
            ("--tokens", settings.tokens),
        )
        if not given
    ]
    for name, address in (("http", settings.http), ("text", settings.text)):
        if lacking and not (address.is_loopback or settings.insecure):
            raise _usage(
                f"{_where(name, origins)}: {address} can be reached from other machines: give"
                f" {' and '.join(lacking)}, or say --insecure if the network is trusted"
            )


def _check_peers(settings: Settings, origins: Mapping[str, str]) -> None:
    files = (settings.peer_cert, settings.peer_key, settings.peer_ca)
    if any(files) and not all(files):
        raise _usage("--peer-cert, --peer-key and --peer-ca belong together: give all three")
    if not (settings.peer.is_loopback or all(files) or settings.insecure):
        raise _usage(
            f"{_where('peer', origins)}: {settings.peer} can be reached from other machines: give"
            " --peer-cert, --peer-key and --peer-ca, or say --insecure if the network is trusted"
        )
    if settings.initial_cluster and settings.join:
        raise _usage(
            "--initial-cluster makes a new cluster and --join enters one: give one of them"
        )
    for name, read, shape in (
        ("peer_advertise", peer_addresses, "HOST:PORT"),
        ("join", join_addresses, "HOST:PORT, several with commas between them, or wait"),
        ("initial_cluster", initial_members, "ID=HOST:PORT,... with each id and address once"),
    ):
        try:
            read(getattr(settings, name))
        except ValueError:
            text = getattr(settings, name)
            raise _usage(f"{_where(name, origins)}: {text!r} is not {shape}") from None
    if settings.backend == "postgres" and not settings.postgres_dsn:
        raise _usage("--backend postgres needs --postgres-dsn: the database's address")
    if settings.postgres_dsn and settings.backend != "postgres":
        raise _usage(f"{_where('postgres_dsn', origins)} needs --backend postgres")
    if settings.backend != "raft" and (settings.initial_cluster or settings.join):
        raise _usage("--initial-cluster and --join need --backend raft")


def _where(name: str, origins: Mapping[str, str]) -> str:
    return OPTIONS[name].flag if origins[name] == "default" else origins[name]


def _near_misses(environ: Mapping[str, str]) -> Iterator[str]:
    known = {option.variable for option in OPTIONS.values()} | _OWN_VARIABLES
    for name in sorted(environ):
        strange = name.startswith("RAFTQ_") and name not in known
        if strange and (meant := _meant(name, known)):
            yield f"{name} is not a setting{meant}"


def _meant(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=_SIMILARITY)
    return f"; is {near[0]} meant?" if near else ""


def _usage(sentence: str) -> StartError:
    return StartError(sentence, exit_code=EXIT_USAGE)

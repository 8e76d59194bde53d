"""One invocation of the command: where the node is, how to answer, who is asking.

Options that many verbs share are stored here by decorators, so that a verb's function takes only what
is its own. Tests give an invocation with another ``connect``.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from raftq.cli.failures import ERROR
from raftq.cli.times import parse_duration_ms, parse_moment_ms

if TYPE_CHECKING:
    from raftq import Client
    from raftq.cli.output import Printer

    MillisecondsType = click.ParamType[int]
else:
    MillisecondsType = click.ParamType

DEFAULT_URL: Final = "raftq://127.0.0.1:7979"
TIMEOUT_S: Final = 10.0  # outlives an election, not a person's patience
UNREACHABLE_S: Final = 2.0  # a node that is started anew is back within one, as a rule
OUTPUTS: Final = ("table", "wide", "json", "jsonl", "csv", "id")
_CLAIMANT_CHARS_MAX: Final = 64  # what the wire allows

Function = TypeVar("Function", bound=Callable[..., Any])


def open_client(url: str, *, unreachable_s: float | None = None, **options: Any) -> "Client":
    """Open the client library's synchronous client.

    Args:
        url: the nodes.
        unreachable_s: give up after this when no node can be connected to; None: as on any trouble.
        options: of the client.
    """
    from raftq import Client
    from raftq.transport.failover import BODY_BYTES_MAX, Pacing
    from raftq.transport.opening import open_transport

    if unreachable_s is not None:
        pacing = Pacing(unreachable_s=unreachable_s)
        options["transport"] = open_transport(
            url, BODY_BYTES_MAX, pacing, options.pop("credentials", None)
        )
    return Client(url, **options)


class Invocation:
    """What the options that verbs share have said, and what verbs need to act on it."""

    def __init__(self, connect: Callable[..., Any] = open_client) -> None:
        self.url = ""
        self.output = ""
        self.columns: tuple[str, ...] = ()
        self.timeout_ms: int | None = None
        self.claimant = ""
        self.token_file = ""
        self.ca = ""
        self.cert = ""
        self.key = ""
        self.idempotency_key = ""
        self.quiet = False
        self.dry_run = False
        self.yes = False
        self._connect = connect

    @property
    def resolved_url(self) -> str:
        """Give the URL of the nodes."""
        return self.url or DEFAULT_URL

    @contextmanager
    def client(self, *, stays: bool = False, **options: Any) -> Iterator["Client"]:
        """Open a client for the length of a block. Errors of the library pass through.

        Where nobody can be connected to, a command soon says so, unless ``--timeout`` was given or it
        ``stays``: it runs until it is told to stop, and nodes come back.
        """
        options.setdefault("claimant", self.claimant or default_claimant())
        if self.timeout_ms is not None:
            options["timeout_s"] = self.timeout_ms / 1000
        elif not stays:
            options["unreachable_s"] = UNREACHABLE_S
        options.setdefault("timeout_s", TIMEOUT_S)
        files = {name: getattr(self, name) for name in ("token_file", "ca", "cert", "key")}
        if any(files.values()):
            from raftq import Credentials

            options.setdefault("credentials", Credentials(**files))
        client = self._connect(self.resolved_url, **options)
        try:
            yield client
        finally:
            client.close()

    @property
    def printer(self) -> "Printer":
        """Give the writer of data, in the format that was asked for or suits stdout."""
        from raftq.cli.output import Printer

        fmt = self.output or ("table" if sys.stdout.isatty() else "jsonl")
        return Printer(fmt, self.columns, quiet=self.quiet)

    def say(self, line: str) -> None:
        """Tell a person something that is not data."""
        if not self.quiet:
            click.echo(line, err=True)

    def confirm(self, question: str) -> None:
        """Ask before something that cannot be undone, unless ``--yes`` was given.

        Raises:
            click.UsageError: nobody is there to answer.
            click.exceptions.Exit: the answer is no.
        """
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise click.UsageError(f"{question} Nobody can answer here: say --yes.")
        if not click.confirm(question, err=True):
            self.say("nothing was changed")
            raise click.exceptions.Exit(ERROR)


def default_claimant() -> str:
    """Name who is asking: the same in every command of one user on one machine."""
    from socket import gethostname

    user = os.environ.get("USER") or os.environ.get("LOGNAME") or _login_name()
    name = "".join(char if char.isprintable() and char != " " else "_" for char in user)
    return f"{name}@{gethostname()}"[:_CLAIMANT_CHARS_MAX]


def _login_name() -> str:
    from pwd import getpwuid

    try:
        return getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may have a user without a name
        return f"uid{os.getuid()}"


class Duration(MillisecondsType):
    """``250ms``, ``10s``, ``1h30m``, ``2d``; gives milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or fail with what it should look like."""
        if isinstance(value, int):
            return value
        try:
            return parse_duration_ms(value)
        except ValueError:
            self.fail(f"{value!r} is not a duration such as 250ms, 10s or 1h30m", param, ctx)


class Moment(MillisecondsType):
    """RFC 3339 or milliseconds since the epoch; gives milliseconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or fail with what it should look like."""
        try:
            return parse_moment_ms(value)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time such as 2026-11-22T18:00:00Z, nor milliseconds",
                param,
                ctx,
            )


DURATION: Final = Duration()
MOMENT: Final = Moment()


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    invocation = ctx.ensure_object(Invocation)
    name = param.name or ""
    source = ctx.get_parameter_source(name)
    said_before_the_verb = getattr(invocation, name) and source is ParameterSource.ENVIRONMENT
    if source is not ParameterSource.DEFAULT and not said_before_the_verb:
        setattr(invocation, name, value)


def _stored(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    return click.option(*names, callback=_store, expose_value=False, **attributes)


def _split_columns(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        _store(ctx, param, tuple(name.strip() for name in value.split(",") if name.strip()))


def quiet(function: Function) -> Function:
    """Add ``--quiet``."""
    return _stored("-q", "--quiet", is_flag=True, help="Print data only, no talk.")(function)


def connected(function: Function) -> Function:
    """Add ``--url``, ``--timeout`` and ``--quiet``: every verb that speaks to a node."""
    timeout = _stored(
        "--timeout",
        "timeout_ms",
        type=DURATION,
        help="Give up on a call after this, retries included.  [10s; 2s if nobody is there]",
    )
    url = _stored(
        "--url",
        envvar="RAFTQ_URL",
        metavar="URL",
        help=f"Nodes: raftq://HOST:PORT[,…] or http://…; raftqs://, https:// with TLS."
        f"  [RAFTQ_URL; {DEFAULT_URL}]",
    )
    return url(identified(timeout(quiet(function))))


def identified(function: Function) -> Function:
    """Add ``--token-file``, ``--ca``, ``--cert`` and ``--key``; what they leave out the library finds."""
    words = (
        (
            "--token-file",
            "File with the token.  [RAFTQ_TOKEN_FILE; RAFTQ_TOKEN is the token itself]",
        ),
        ("--ca", "Authority that signs the nodes (PEM).  [RAFTQ_CA; those of the system]"),
        ("--cert", "Certificate of this client (PEM).  [RAFTQ_CERT]"),
        ("--key", "Key of that certificate (PEM).  [RAFTQ_KEY]"),
    )
    for name, text in reversed(words):
        function = _stored(name, metavar="FILE", help=text)(function)
    return function


def formatted(function: Function) -> Function:
    """Add ``-o`` for verbs whose answer is one document, or a line at a time."""
    return _stored(
        "-o",
        "--output",
        type=click.Choice(("table", "json", "jsonl")),
        help="Format: table on a terminal, jsonl elsewhere.",
    )(function)


def reporting(function: Function) -> Function:
    """Add ``-o`` and ``--columns``: verbs whose answer is rows."""
    output = _stored(
        "-o",
        "--output",
        type=click.Choice(OUTPUTS),
        help="Format: table on a terminal, jsonl elsewhere.",
    )
    columns = click.option(
        "--columns",
        metavar="A,B,…",
        callback=_split_columns,
        expose_value=False,
        help="Fields to show, in this order.",
    )
    return output(columns(function))


def mutating(function: Function) -> Function:
    """Add ``--dry-run`` and ``--idempotency-key``."""
    dry_run = _stored("--dry-run", is_flag=True, help="Show what would happen, change nothing.")
    key = _stored(
        "--idempotency-key",
        metavar="KEY",
        help="Retry safely: the same key gives the first answer again.",
    )
    return dry_run(key(function))


def claiming(function: Function) -> Function:
    """Add ``--claimant``: verbs that act on claimed tasks."""
    return _stored(
        "--claimant",
        envvar="RAFTQ_CLAIMANT",
        metavar="NAME",
        help="Who holds the tasks.  [RAFTQ_CLAIMANT; USER@HOST]",
    )(function)


def dangerous(function: Function) -> Function:
    """Add ``--yes``."""
    return _stored("--yes", is_flag=True, help="Do not ask.")(function)

"""``raftqd``: runs one node as a process. Flags, signals, the ready line, exit codes.

One line on stdout when the node serves, logs on stderr. The first SIGTERM or SIGINT drains, the second
ends at once. Whatever the operator can put right is one sentence on stderr and a non-zero exit code.
"""

import asyncio
import gc
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from raftq_cluster.config import EXIT_ERROR, StartError
from raftq_cluster.config.loading import CONFIG_FLAG, Loaded, load
from raftq_cluster.config.settings import OPTIONS, Settings, without_password

# What is young is looked through, at most 40,000 objects at a time: 10 to 20 ms. The defaults cost pauses of
# 200 ms with a million tasks, a large second number one of 350 ms whenever as many were inserted (million.py).
_GC_THRESHOLDS: Final = (10_000, 3, 100_000)
# The sync thread must get the interpreter back soon from a busy loop.
_SWITCH_INTERVAL_S: Final = 0.000_5
_SIGNALLED: Final = 128  # as shells report a process that a signal ended

Function = TypeVar("Function", bound=Callable[..., Any])


class Daemon(click.Group):
    """The command itself: every mistake is one sentence."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run and exit."""
        kwargs.update(standalone_mode=False, prog_name="raftqd")
        sys.exit(_run(lambda: super(Daemon, self).main(*args, **kwargs)))


def _run(action: Callable[[], object]) -> int:
    try:
        result = action()
    except ImportError as error:
        return _refuse(
            f"{error}: a node needs pip install 'raftq[server]', and raftq[postgres] for PostgreSQL",
            EXIT_ERROR,
        )
    except StartError as error:
        return _refuse(error.sentence, error.exit_code)
    except click.ClickException as error:
        sentence = error.format_message().rstrip(".")
        return _refuse(f"{sentence} (raftqd --help lists what there is)", error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        return _SIGNALLED + signal.SIGINT
    return result if isinstance(result, int) else 0


def _refuse(sentence: str, exit_code: int) -> int:
    click.echo(f"raftqd: {sentence}", err=True)
    return exit_code


def settings_flags(function: Function) -> Function:
    """Add a flag for every setting, and ``--config``."""
    for option in reversed(OPTIONS.values()):
        default = "" if option.default in ("", False) else f"  [{option.default}]"
        shape: dict[str, Any] = (
            {"is_flag": True}
            if option.takes_no_value
            else {"metavar": option.metavar or "|".join(option.choices) or "TEXT"}
        )
        add = click.option(
            option.flag, option.name, default=None, help=option.help + default, **shape
        )
        function = add(function)
    named = click.option(
        CONFIG_FLAG, metavar="FILE", default=None, help="settings file  [./raftq.toml, if there]"
    )
    return named(function)


def load_settings(given: Mapping[str, Any]) -> Loaded:
    """Gather the settings of this process. ``given`` is what click parsed."""
    flags = dict(given)
    config = flags.pop("config")
    return load(flags, os.environ, config=config, directory=Path.cwd())


@click.group(
    cls=Daemon,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@settings_flags
@click.pass_context
def raftqd(ctx: click.Context, /, **given: Any) -> int:
    """Run one node of raftq, and say so in one line on stdout when it serves.

    Without flags it is a complete system of one node: tasks are on disk before an answer leaves. Every
    setting can also be a variable (RAFTQ_DATA_DIR) or a key of raftq.toml (data-dir); a flag wins over
    a variable, a variable over the file.
    """
    if ctx.invoked_subcommand is None:
        return run_node(load_settings(given))
    ctx.obj = given
    return 0


@raftqd.group("config", no_args_is_help=False)
def config_group() -> None:
    """Look at the settings."""


@config_group.command("show")
@settings_flags
@click.pass_context
def config_show(ctx: click.Context, /, **given: Any) -> None:
    """Print every setting as a line of raftq.toml, with where it came from."""
    loaded = load_settings(_merged(ctx, given))
    lines = [
        (f"{option.key} = {_shown(option.name, loaded.settings)}", option.name)
        for option in OPTIONS.values()
    ]
    width = max(len(line) for line, _name in lines)
    for line, name in lines:
        click.echo(f"{line:{width}}  # {loaded.origins[name]}")
    for warning in loaded.warnings:
        click.echo(f"raftqd: {warning}", err=True)


def _merged(ctx: click.Context, given: Mapping[str, Any]) -> dict[str, Any]:
    """Flags after the command's word count, and those before it."""
    before: Mapping[str, Any] = ctx.obj or {}
    return {name: before.get(name) if value is None else value for name, value in given.items()}


def _shown(name: str, settings: Settings) -> str:
    value = getattr(settings, name)
    return _toml(without_password(value) if name == "postgres_dsn" else value)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@raftqd.command("health")
@click.option("--live", is_flag=True, help="ask whether it answers, not whether it can serve")
@settings_flags
@click.pass_context
def health(ctx: click.Context, /, *, live: bool, **given: Any) -> int:
    """Ask the node of these settings how it is: exit code 0 if it can serve, else 1 and why.

    For a health check beside the node, where its flags or variables are. It needs no token.
    """
    from raftq_cluster.health import LIVE, READY, ask  # noqa: PLC0415 - a node asks nobody

    trouble = ask(load_settings(_merged(ctx, given)).settings, LIVE if live else READY)
    if trouble:
        return _refuse(trouble, EXIT_ERROR)
    click.echo("ok")
    return 0


@raftqd.command("dev")
@click.option("--memory", is_flag=True, help="keep nothing on disk")
@click.option("--data-dir", metavar="DIR", help="keep tasks here, after the end too")
@click.option("--nodes", type=int, default=1, metavar="N", help="1, 3, 5 or 7 nodes  [1]")
@click.option("--http", metavar="HOST:PORT", default="127.0.0.1:7677", show_default=True)
@click.option("--text", metavar="HOST:PORT", default="127.0.0.1:7979", show_default=True)
@click.option("--peer", metavar="HOST:PORT", default="127.0.0.1:7678", show_default=True)
@click.pass_context
def dev(ctx: click.Context, /, **given: Any) -> int:
    """Start a node or a cluster, a sample worker and three sample tasks, to look around.

    All of it is real: node processes on loopback, a worker process. The ports are those of the first
    node; each further one has ports ten higher. Kill what you like; SIGUSR1 to this process brings
    it back. Ctrl-C stops everything.
    """
    from raftq_cluster.dev.places import DevOptions  # noqa: PLC0415 - the daemon needs none of it
    from raftq_cluster.dev.session import run_dev  # noqa: PLC0415

    if any(value is not None for value in ctx.obj.values()):
        raise click.UsageError("dev takes its own flags only, and after the word dev")
    exit_code: int = run_dev(DevOptions(**given))
    return exit_code


@raftqd.group("pg")
def pg() -> None:
    """Make, upgrade and look at the tables of --backend postgres."""


def _database_flags(function: Function) -> Function:
    """Add the flags that say which database."""
    for name in ("postgres_schema", "postgres_dsn"):
        option = OPTIONS[name]
        add = click.option(
            option.flag, name, metavar=option.metavar, default=None, help=option.help
        )
        function = add(function)
    return click.option(CONFIG_FLAG, metavar="FILE", default=None, help="settings file")(function)


def _database(ctx: click.Context, given: Mapping[str, Any]) -> Settings:
    flags = {**_without_none(ctx.find_root().obj or {}), **_without_none(given)}
    return load_settings({"config": None, **flags, "backend": "postgres"}).settings


def _without_none(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


@pg.command("init")
@_database_flags
@click.pass_context
def pg_init(ctx: click.Context, /, **given: Any) -> None:
    """Make the schema and its tables. Does nothing where they are there."""
    from raftq_cluster import postgres_tables  # noqa: PLC0415 - an extra

    click.echo(postgres_tables.run(_database(ctx, given), "init"))


@pg.command("upgrade")
@_database_flags
@click.pass_context
def pg_upgrade(ctx: click.Context, /, **given: Any) -> None:
    """Bring the schema to this version. There is no way back but a backup."""
    from raftq_cluster import postgres_tables  # noqa: PLC0415 - an extra

    click.echo(postgres_tables.run(_database(ctx, given), "upgrade"))


@pg.command("status")
@_database_flags
@click.pass_context
def pg_status(ctx: click.Context, /, **given: Any) -> None:
    """Tell the versions, and how full and how tidy the tables are."""
    from raftq_cluster import postgres_tables  # noqa: PLC0415 - an extra

    click.echo(postgres_tables.run(_database(ctx, given), "status"))


@pg.command("print")
@_database_flags
@click.pass_context
def pg_print(ctx: click.Context, /, **given: Any) -> None:
    """Print what init would do, as a script for psql. Connects to nothing."""
    from raftq_cluster import postgres_tables  # noqa: PLC0415 - an extra

    before = {**(ctx.find_root().obj or {}), **_without_none(given)}
    click.echo(postgres_tables.script(before.get("postgres_schema") or "raftq"), nl=False)


def run_node(loaded: Loaded) -> int:
    """Run a node with these settings until it is told to stop; give the exit code.

    Raises:
        StartError: one sentence for the operator.
    """
    import structlog  # noqa: PLC0415 - --help and config show log nothing

    from raftq_cluster.observability import logs  # noqa: PLC0415

    settings = loaded.settings
    logs.configure(settings.log_level, settings.log_format)
    log = structlog.get_logger(__name__)
    for warning in loaded.warnings:
        log.warning(warning)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(settings))
    except ImportError:
        raise  # the caller has a sentence for it
    except Exception:
        log.exception("node broke")
        return _refuse("the node met an error of its own; the log has it", EXIT_ERROR)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - it is used where it is installed
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(settings: Settings) -> int:
    import structlog  # noqa: PLC0415

    from raftq_cluster.node import Facts, Node, NodeFailedError  # noqa: PLC0415 - imports servers
    from raftq_cluster.systemd import READY, STOPPING, ServiceManager  # noqa: PLC0415

    log = structlog.get_logger(__name__)
    stopping = asyncio.Event()
    _stop_on_signals(stopping)
    manager = ServiceManager(os.environ)

    def ready(facts: Facts) -> None:
        settle_memory()
        log.info("node ready", **{name: str(fact) for name, fact in facts._asdict().items()})
        _print_ready(facts)
        manager.tell(READY)

    async def announce_stop() -> None:
        await stopping.wait()
        manager.tell(STOPPING)

    exit_code = 0
    async with asyncio.TaskGroup() as group:
        pings = group.create_task(manager.keep_alive())
        group.create_task(announce_stop())
        try:
            node = Node(settings, stopping)
            if settings.has_files:
                _reload_on_hangup(node.reload)
            await node.run(ready)
        except StartError as error:
            exit_code = _refuse(error.sentence, error.exit_code)
        except NodeFailedError as error:
            exit_code = _refuse(str(error), EXIT_ERROR)
        finally:
            stopping.set()
            pings.cancel()
    return exit_code


def _stop_on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stopping.is_set():
            os._exit(_SIGNALLED + number)  # the operator does not want to wait for the drain
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)


def _reload_on_hangup(reload: Callable[[], None]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def settle_memory() -> None:
    """Keep the collector from looking through all tasks at once. Called when everything is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _print_ready(facts: Any) -> None:
    words = [f"{name}={shlex.quote(str(value))}" for name, value in facts._asdict().items()]
    try:
        click.echo(" ".join(("raftq ready", *words)))
    except OSError:  # nobody may be reading it
        # The interpreter must not complain either when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> NoReturn:
    """Be the ``raftqd`` command."""
    raftqd()
    raise AssertionError("click exits")

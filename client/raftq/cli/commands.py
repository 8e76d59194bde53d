"""Which verb is where, and how verbs are found, listed and explained.

A verb's module is imported when the verb is used, not before: ``--help`` must be quick
(``tests/unit/cli/test_cli_shell.py`` counts what it imports).
"""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final, NamedTuple

import click


class Entry(NamedTuple):
    """One verb of a group: the module that has it, its line in the list, its name in the module."""

    module: str
    summary: str
    attribute: str = "command"


VERBS: Final[dict[str, dict[str, Entry]]] = {
    "Tasks": {
        "put": Entry("put", "Insert a task, or one per line"),
        "claim": Entry("claim", "Take arrived tasks under a lease"),
        "renew": Entry("renew", "Hold claimed tasks for longer"),
        "done": Entry("done", "Delete finished tasks"),
        "fail": Entry("fail", "Move tasks to the error queue, or retry them later"),
        "release": Entry("release", "Give claimed tasks back"),
        "modify": Entry("modify", "Apply one atomic set of changes from a document"),
    },
    "Looking": {
        "peek": Entry("peek", "Show tasks of a queue without claiming them"),
        "get": Entry("get", "Show tasks by id"),
        "tasks": Entry("tasks", "List tasks"),
        "queues": Entry("queues", "List queues, and change how they behave"),
        "doc": Entry("doc", "List, put and delete docs"),
        "top": Entry("top", "Watch the queues, live"),
        "tail": Entry("tail", "Follow what happens in the queues"),
    },
    "Working": {
        "work": Entry("work", "Run a command or a function on every task"),
        "rm": Entry("rm", "Delete tasks by id, or all tasks of a queue"),
    },
    "Operating": {
        "cluster": Entry("cluster", "Show the nodes and the time of the log"),
        "cert": Entry("cert", "Make a private authority and certificates"),
        "token": Entry("token", "Make the secret of a token, and its entry for the nodes"),
        "pg": Entry("pg", "Make, upgrade and look at the tables of nodes over PostgreSQL"),
        "export": Entry("export", "Write everything that the nodes hold into one file"),
        "import": Entry("import_", "Put such a file into an empty store"),
        "check": Entry("check", "Tell a monitor whether all is well (exit 0, 1, 2 or 3)"),
        "bench": Entry("bench", "Measure cycles of put, claim and done"),
    },
    "Self": {
        "version": Entry("version", "Show the versions of this command and of the node"),
        "completion": Entry("completion", "Print the completion script of a shell"),
    },
}


class Verb(click.Command):
    """A command whose help opens with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, then what the verb does, then its options."""
        write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write lines that can be pasted."""
    formatter.write("Examples:\n")
    for example in examples:
        formatter.write(f"  {example}\n")
    formatter.write("\n")


class LazyGroup(click.Group):
    """A group whose verbs are imported when they are used."""

    def __init__(
        self,
        *args: Any,
        sections: dict[str, dict[str, Entry]],
        examples: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections
        self.examples = examples
        self.entries = {
            name: entry for section in sections.values() for name, entry in section.items()
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the table."""
        del ctx
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        del ctx
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"raftq.cli.verbs.{entry.module}")
        command: click.Command = getattr(module, entry.attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or suggest the nearest one."""
        name = args[0]
        if name in self.entries or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = get_close_matches(name, self.entries, n=1, cutoff=0.5)
        hint = f" Is {near[0]} meant?" if near else ""
        raise click.UsageError(f"There is no verb {name}.{hint}", ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, then the verbs by section, then the options."""
        write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs by section; imports none of them."""
        del ctx
        for title, section in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in section.items()])

"""A client that keeps no tasks: it writes down what it was asked, and answers what a test said.

    client = RecordingClient(claim=[task], time=1_000)
    result = invoke(client, "claim", "emails")
    assert client.calls == [("claim", ("emails",), {"lease_ms": 30_000, …}), …]

An answer that is an exception is raised; one that is a function is called with the arguments; a
verb without an answer gives an empty one.
"""

from typing import Any

from raftq.tasks import Modified, Renewed


class RecordingClient:
    """Answers any method of a client."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {"time": 1_000_000, **answers}
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.opened: list[tuple[str, dict[str, Any]]] = []
        self.closed = 0
        self.last_index = 77

    def connect(self, url: str, **options: Any) -> "RecordingClient":
        """Stand in for opening a client."""
        self.opened.append((url, options))
        return self

    def close(self) -> None:
        self.closed += 1

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            answer = self.answers.get(name, _EMPTY.get(name, list)())
            if isinstance(answer, Exception):
                raise answer
            return answer(*args, **kwargs) if callable(answer) else answer

        if name.startswith("_"):
            raise AttributeError(name)
        return method

    def asked(self, name: str) -> list[dict[str, Any]]:
        """The keyword arguments of every call of a method."""
        return [kwargs for called, _args, kwargs in self.calls if called == name]


_EMPTY: dict[str, Any] = {
    "modify": lambda: Modified(inserted=[], changed=[]),
    "renew": lambda: Renewed(renewed=[], lost=[]),
}

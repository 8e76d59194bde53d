"""A program: ``raftqd`` with a bug, for tests that must see it found. No flag of the product does this.

From the first task in the queue ``/odd`` on, it takes no notice of deletes.
"""

from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.outcomes import Modified, Outcome
from raftq_cluster.daemon import main

_modify = Machine._modify


def _modify_but_not_delete(self: Machine, operation: op.Modify) -> Outcome:
    if operation[6] and "/odd" in self.queues:
        return Modified((), ())
    return _modify(self, operation)


if __name__ == "__main__":
    Machine._modify = _modify_but_not_delete  # type: ignore[method-assign] # that is the bug
    main()

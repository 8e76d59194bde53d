"""``scripts/bench``: runs the programs of ``scripts/bench.d`` and makes one table of their figures.

``programs`` is the list, ``running`` starts nodes and programs and measures CPU time, ``rows`` keeps
figures of several runs together and compares them with a baseline, ``__main__`` is the command line.
"""

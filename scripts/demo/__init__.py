"""The demo job: which identifiers does the Python standard library use most?

    /demo/files      one task per source file        ->  mappers count a file's identifiers
    /demo/partials   one task per partial result     ->  reducers merge several into one
    /demo/files/err  files that nobody could read

Every step is one ``modify``: a mapper deletes the file's task and inserts its partial result, a
reducer deletes what it merged and inserts the sum. All of that happens or none of it, so a file is
counted once, whoever dies in between: a worker that is killed just leaves its task behind, and
another one claims it when the lease has run out.

Read ``counting`` first (no queue in it), then ``mapper`` and ``reducer`` (what you would write
yourself), then ``job`` (who watches them). ``nodes`` and ``workers`` are processes, ``__main__`` is
the command line.
"""

"""Fuzzing: one target per kind of bytes that strangers, disks or peers give us, and a corpus for each.

A target is a module of ``tests.fuzz.targets`` with ``fuzz(data)``, which raises when a property of it does not
hold, and ``seeds()``, real inputs to start from. ``scripts/fuzz`` searches with coverage feedback,
``test_fuzz_targets`` replays the corpus and searches a little, in every run of the tests.
"""

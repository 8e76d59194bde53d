"""Whole clusters in one process: virtual time, network and disks, faults at random, and checkers."""

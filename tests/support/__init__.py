"""Fixtures, doubles and processes that tests share."""

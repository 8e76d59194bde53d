"""Clients of every kind, each a program of its own that writes down what it learns."""

"""The tests: see CONTRIBUTING for what goes where."""

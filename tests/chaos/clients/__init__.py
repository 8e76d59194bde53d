"""Clients of every dialect, which nothing retries for behind their back, and that write down all they learn."""

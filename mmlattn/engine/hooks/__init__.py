"""Hooks, a file for each."""

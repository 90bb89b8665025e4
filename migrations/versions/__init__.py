"""Revisions, one change each."""

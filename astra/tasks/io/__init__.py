"""Data products of surveys as tasks."""

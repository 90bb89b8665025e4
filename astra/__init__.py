"""Workflow engine for survey data processing, on Luigi."""

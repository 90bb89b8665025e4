"""Alembic migrations of the astra database."""

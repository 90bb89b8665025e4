"""Run the migrations on the connection that is handed over, or on the URL of the configuration."""

import os

from alembic import context
from sqlalchemy import create_engine

from astra.database.models import metadata

connection = context.config.attributes.get("connection")


def _migrate(bind):
    context.configure(connection=bind, target_metadata=metadata, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


if connection is not None:
    _migrate(connection)
else:
    url = context.config.get_main_option("sqlalchemy.url") or os.environ.get("ASTRA_DATABASE_URL")
    with create_engine(url or "sqlite:///astra.db").connect() as bind:
        _migrate(bind)
        bind.commit()

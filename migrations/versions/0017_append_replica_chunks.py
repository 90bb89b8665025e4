"""Let the keys of the replica chunks grow at their end, and find the current objects of a region alone."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# A visit measures thousands of objects: a key that leads with the object has a page of its own for each.
KEYS = {
    "DiaObject": {"validityStartMjdTai": sa.Double(), "diaObjectId": sa.BigInteger()},
    "DiaForcedSource": {
        "visit": sa.BigInteger(),
        "detector": sa.SmallInteger(),
        "diaObjectId": sa.BigInteger(),
    },
    "DiaSource": {"diaSourceId": sa.BigInteger()},
}
RUBINS_KEYS = {
    "DiaObject": ("diaObjectId", "validityStartMjdTai"),
    "DiaForcedSource": ("diaObjectId", "visit", "detector"),
    "DiaSource": ("diaSourceId",),
}
CURRENT = sa.text('"validityEndMjdTai" IS NULL')
SUMS = ("dia_object_sums", "dia_forced_sums")


def upgrade() -> None:
    for table, key in KEYS.items():
        make_again(table, tuple(key), with_rowid=False)
    op.create_index(
        "ix_DiaObject_current", "DiaObject", ["pixelId"], sqlite_where=CURRENT, postgresql_where=CURRENT
    )
    set_fillfactor("SET (fillfactor = 50)")  # room on each page for the next sums of its objects


def downgrade() -> None:
    set_fillfactor("RESET (fillfactor)")
    op.drop_index("ix_DiaObject_current", "DiaObject")
    for table, key in RUBINS_KEYS.items():
        make_again(table, key, with_rowid=True)


def set_fillfactor(change: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in SUMS:
            op.execute(f"ALTER TABLE {table} {change}")


def make_again(table: str, key: tuple[str, ...], *, with_rowid: bool) -> None:
    """Give a chunk table another order of its key."""
    name = f"{table}Chunks"
    if op.get_bind().dialect.name == "postgresql":
        columns = ", ".join(f'"{column}"' for column in key)
        op.drop_constraint(f"pk_{name}", name, type_="primary")
        op.execute(f'ALTER TABLE "{name}" ADD CONSTRAINT "pk_{name}" PRIMARY KEY ({columns})')
        return
    op.rename_table(name, "older_chunks")
    op.drop_index(f"{name}_apdb_replica_chunk_idx", "older_chunks")
    names = RUBINS_KEYS[table]
    cascade = {"onupdate": "CASCADE", "ondelete": "CASCADE"}
    chunk = "apdb_replica_chunk"
    op.create_table(
        name,
        sa.Column(chunk, sa.BigInteger(), nullable=False, autoincrement=False),
        *(sa.Column(one, KEYS[table][one], nullable=False, autoincrement=False) for one in names),
        sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"),
        sa.ForeignKeyConstraint(
            names, [f"{table}.{one}" for one in names], name=f"{name}_fk_{table}", **cascade
        ),
        sa.ForeignKeyConstraint(
            [chunk], [f"ApdbReplicaChunks.{chunk}"], name=f"{name}_fk_ApdbReplicaChunks", **cascade
        ),
        sqlite_with_rowid=with_rowid,
    )
    listed = ", ".join(f'"{one}"' for one in (chunk, *names))
    order = ", ".join(f'"{one}"' for one in key)
    op.execute(f'INSERT INTO "{name}" ({listed}) SELECT {listed} FROM older_chunks ORDER BY {order}')  # noqa: S608
    op.drop_table("older_chunks")
    op.create_index(f"{name}_apdb_replica_chunk_idx", name, [chunk])

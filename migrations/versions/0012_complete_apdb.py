"""Complete the APDB: replica chunks, update records, our own statistics, units, validity from midpoints."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BANDS = "ugrizy"
CONFIG = (
    '{{"enable_replica": {replica}, "dia_object_index": "baseline", "htm_level": 20, '
    '"htm_index_column": "pixelId", "ra_dec_columns": ["ra", "dec"]}}'
)
KEYS = {
    "DiaObject": {"diaObjectId": sa.BigInteger(), "validityStartMjdTai": sa.Double()},
    "DiaSource": {"diaSourceId": sa.BigInteger()},
    "DiaForcedSource": {
        "diaObjectId": sa.BigInteger(),
        "visit": sa.BigInteger(),
        "detector": sa.SmallInteger(),
    },
}
STATISTICS = (
    *(f"psfFluxPercentile{percent:02d}" for percent in (5, 25, 50, 75, 95)),
    *("psfFluxChi2", "psfFluxMAD", "psfFluxSkew", "psfFluxStetsonJ", "psfFluxLinearSlope"),
    *("psfFluxLinearIntercept", "scienceFluxSigma", "period", "power", "multiAmp", "multiPhase"),
)
UNITS = {
    "nJy/d": r"._psfFlux(MaxSlope|LinearSlope)",
    "nJy": r"(._)?(psf|fp|science|ap|trail|template)Flux"
    r"(Mean|MeanErr|Sigma|Min|Max|ErrMean|Err|Percentile..|MAD|LinearIntercept)?"
    r"|dipole(FluxDiff|MeanFlux)(Err)?|._multiAmp",
    "deg**2": "ra_dec_Cov",
    "deg": r"(ra|dec|trailRa|trailDec|trailAngle)(Err)?|dipoleAngle",
    "arcsec**2": "i(xx|yy|xy)(PSF)?",
    "arcsec": "dist|(dipole|trail)Length(Err)?",
    "pixel": "[xy](Err)?|bboxSize",
    "s": "exposureTime",
    "d": r".*MjdTai|._period|multiPeriod",
}
RUBIN_TABLES = ("DiaObject", "DiaSource", "DiaForcedSource", "DiaObject_To_Object_Match")
BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# The versions of an object were told by the clock; now the k-th of them starts at the k-th of the midpoints
# of the visits that detected it. Two detectors of a visit that saw one object leave the later version.
NEW_STARTS = """
CREATE TEMPORARY TABLE apdb_new_start AS
WITH written AS (
    SELECT o."diaObjectId" AS id, o."validityStartMjdTai" AS old_start, MIN(m."midpointMjdTai") AS midpoint
    FROM "DiaObject" o
    JOIN "DiaSource" s ON s."diaObjectId" = o."diaObjectId"
    JOIN apdb_marker m ON m.visit = s.visit AND m.detector = s.detector
        AND m."timeProcessedMjdTai" = o."validityStartMjdTai"
    GROUP BY o."diaObjectId", o."validityStartMjdTai"
), kept AS (
    SELECT id, MAX(old_start) AS old_start, midpoint FROM written GROUP BY id, midpoint
), by_clock AS (
    SELECT id, old_start, ROW_NUMBER() OVER (PARTITION BY id ORDER BY old_start) AS number FROM kept
), by_midpoint AS (
    SELECT id, midpoint, ROW_NUMBER() OVER (PARTITION BY id ORDER BY midpoint) AS number,
        LEAD(midpoint) OVER (PARTITION BY id ORDER BY midpoint) AS next_start
    FROM kept
)
SELECT c.id, c.old_start, t.midpoint AS new_start, t.next_start AS new_end
FROM by_clock c JOIN by_midpoint t ON t.id = c.id AND t.number = c.number
"""
SUPERSEDED = """
DELETE FROM "DiaObject" WHERE "diaObjectId" IN (SELECT id FROM apdb_new_start) AND NOT EXISTS (
    SELECT 1 FROM apdb_new_start n
    WHERE n.id = "DiaObject"."diaObjectId" AND n.old_start = "DiaObject"."validityStartMjdTai"
)
"""
MOVE = """
UPDATE "DiaObject" SET "validityStartMjdTai" = n.new_start, "validityEndMjdTai" = n.new_end
FROM apdb_new_start n
WHERE n.id = "DiaObject"."diaObjectId" AND n.old_start = "DiaObject"."validityStartMjdTai"
"""


def unit_comment(name):
    found = next((unit for unit, pattern in UNITS.items() if re.fullmatch(pattern, name)), None)
    return None if found is None else f"[{found}]"


def double(name, **options):
    return sa.Column(name, sa.Double(), comment=unit_comment(name), **options)


def chunk_column():
    return sa.Column(
        "apdb_replica_chunk", sa.BigInteger(), nullable=False, autoincrement=False, comment="[s]"
    )


def upgrade():
    start_validity_at_midpoints()
    comment_units(unit_comment)
    set_trail_default("0")
    create_replica_tables()
    create_our_tables()
    op.execute("""INSERT INTO metadata (name, value) VALUES ('version:ApdbSqlReplica', '1.0.0')""")
    set_config("true")


def downgrade():
    op.execute("DELETE FROM metadata WHERE name = 'version:ApdbSqlReplica'")
    set_config("false")
    for table in ("dia_forced_sums", "dia_object_sums", "dia_object_statistics", "ApdbUpdateRecordChunks"):
        op.drop_table(table)
    for table in KEYS:
        op.drop_table(f"{table}Chunks")
    op.drop_table("ApdbReplicaChunks")
    set_trail_default(None)
    comment_units(lambda _: None)


def start_validity_at_midpoints():
    op.execute(NEW_STARTS)
    op.execute(SUPERSEDED)
    op.execute(MOVE)
    op.execute("DROP TABLE apdb_new_start")


def comment_units(comment):
    if op.get_bind().dialect.name != "postgresql":  # SQLite keeps no comments
        return
    for table in RUBIN_TABLES:
        for column in sa.inspect(op.get_bind()).get_columns(table):
            name, found = column["name"], column.get("comment")
            if found != comment(name):
                op.alter_column(table, name, comment=comment(name), existing_comment=found)


def set_trail_default(default):
    with op.batch_alter_table("DiaSource") as batch:
        batch.alter_column(
            "trailNdata", server_default=default, existing_type=sa.Integer(), existing_nullable=False
        )


def set_config(replica):
    statement = sa.text("UPDATE metadata SET value = :value WHERE name = 'config:apdb-sql.json'")
    op.get_bind().execute(statement, {"value": CONFIG.format(replica=replica)})


def create_replica_tables():
    op.create_table(
        "ApdbReplicaChunks",
        chunk_column(),
        sa.Column("last_update_time", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("unique_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("apdb_replica_chunk", name="pk_ApdbReplicaChunks"),
    )
    cascade = {"onupdate": "CASCADE", "ondelete": "CASCADE"}
    for table, key in KEYS.items():
        name = f"{table}Chunks"
        op.create_table(
            name,
            chunk_column(),
            *(sa.Column(column, kind, nullable=False, autoincrement=False) for column, kind in key.items()),
            sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"),
            sa.ForeignKeyConstraint(
                list(key), [f"{table}.{column}" for column in key], name=f"{name}_fk_{table}", **cascade
            ),
            sa.ForeignKeyConstraint(
                ["apdb_replica_chunk"],
                ["ApdbReplicaChunks.apdb_replica_chunk"],
                name=f"{name}_fk_ApdbReplicaChunks",
                **cascade,
            ),
        )
        op.create_index(f"{name}_apdb_replica_chunk_idx", name, ["apdb_replica_chunk"])
    key = ("apdb_replica_chunk", "update_time_ns", "update_order", "update_unique_id")
    op.create_table(
        "ApdbUpdateRecordChunks",
        chunk_column(),
        sa.Column("update_time_ns", sa.BigInteger(), nullable=False, autoincrement=False, comment="[ns]"),
        sa.Column("update_order", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("update_unique_id", sa.Uuid(), nullable=False),
        sa.Column("update_payload", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint(*key, name="pk_ApdbUpdateRecordChunks"),
    )


def create_our_tables():
    columns = [f"{band}_{name}" for band in BANDS for name in STATISTICS]
    op.create_table(
        "dia_object_statistics",
        sa.Column("diaObjectId", sa.BigInteger(), nullable=False, autoincrement=False),
        double("validityStartMjdTai", nullable=False),
        *(double(name, nullable=True) for name in (*columns, "multiPeriod", "multiPower", "multiFap")),
        sa.Column("flags", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("diaObjectId", "validityStartMjdTai", name="pk_dia_object_statistics"),
    )
    op.create_table(
        "dia_object_sums",
        sa.Column("diaObjectId", BIG_INT, nullable=False, autoincrement=False),
        double("validityStartMjdTai", nullable=False),
        sa.Column("bands", sa.String(length=6), nullable=False),
        sa.Column("sums", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("diaObjectId", name="pk_dia_object_sums"),
    )
    op.create_table(
        "dia_forced_sums",
        sa.Column("diaObjectId", BIG_INT, nullable=False, autoincrement=False),
        double("midpointMjdTai", nullable=False),
        sa.Column("sums", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("diaObjectId", name="pk_dia_forced_sums"),
    )

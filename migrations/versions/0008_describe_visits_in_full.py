"""Keep what exposures and visits say in full, collections of raws, and systems of visits by instrument.

SQLite changes neither keys nor constraints of a table, and dropping a table there deletes what refers to it:
all survey tables are set aside, made anew and filled again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PARENTS_FIRST = (
    "exposure",
    "visit_system",
    "raw",
    "visit",
    "visit_definition",
    "visit_detector_region",
    "visit_system_membership",
)
VISIT_KEY = ("instrument", "visit_system", "visit")

# The columns that both revisions have, and what fills the others: an expression on the table set aside.
EXPOSURE = (
    "instrument, exposure, obs_id, day_obs, seq_num, band, physical_filter, begin_mjd_tai, end_mjd_tai, "
    "exposure_time_s, observation_type, target_name, science_program, group_name"
)
RAW = "instrument, exposure, detector, path, size, modified_ns, checksum, region"
VISIT = (
    "instrument, visit_system, visit, name, day_obs, seq_num, band, physical_filter, begin_mjd_tai, "
    "end_mjd_tai, exposure_time_s, target_name, science_program, region"
)


def upgrade() -> None:
    _set_aside(PARENTS_FIRST)
    _create_exposures(new=True)
    _create_raws(new=True)
    _create_visits(new=True)
    _fill(
        "exposure",
        f"{EXPOSURE}, seq_start, seq_end, observation_reason, can_see_sky",
        f"{EXPOSURE}, seq_num, seq_num, '', {_true()}",
    )
    _fill("raw", RAW, RAW)
    op.execute(
        "INSERT INTO raw_collection (instrument, exposure, detector, collection) "
        "SELECT instrument, exposure, detector, 'raw/all' FROM raw"
    )
    op.execute(
        "INSERT INTO visit_system (instrument, visit_system, name) "
        "SELECT DISTINCT visit.instrument, visit.visit_system, system.name FROM old_visit AS visit "
        "JOIN old_visit_system AS system ON system.visit_system = visit.visit_system"
    )
    _fill("visit", f"{VISIT}, observation_reason, region_source", f"{VISIT}, '', ''")
    _fill_what_is_keyed_by_visit()
    _drop_old(PARENTS_FIRST)


def downgrade() -> None:
    """What the older tables cannot hold is left out: visits without times, all but one raw of a file."""
    op.drop_table("raw_collection")
    _set_aside(PARENTS_FIRST)
    _create_exposures(new=False)
    _create_raws(new=False)
    _create_visits(new=False)
    timed = "WHERE begin_mjd_tai IS NOT NULL AND end_mjd_tai IS NOT NULL"
    _fill("exposure", EXPOSURE, EXPOSURE, timed)
    _fill(
        "raw",
        RAW,
        RAW,
        "AS one WHERE region IS NOT NULL AND NOT EXISTS (SELECT 1 FROM old_raw AS other "
        "WHERE other.path = one.path AND (other.exposure < one.exposure "
        "OR other.exposure = one.exposure AND other.detector < one.detector)) "
        "AND EXISTS (SELECT 1 FROM exposure WHERE exposure.instrument = one.instrument "
        "AND exposure.exposure = one.exposure)",
    )
    op.execute(
        "INSERT INTO visit_system (visit_system, name) "
        "SELECT visit_system, min(name) FROM old_visit_system GROUP BY visit_system"
    )
    plain = VISIT
    for name in ("band", "physical_filter", "target_name", "science_program"):
        plain = plain.replace(f" {name},", f" coalesce({name}, ''),")
    _fill("visit", VISIT, plain, timed)
    _fill_what_is_keyed_by_visit()
    _drop_old(PARENTS_FIRST)


def _true() -> str:
    return "1" if op.get_bind().dialect.name == "sqlite" else "true"


def _set_aside(tables: tuple[str, ...]) -> None:
    """Copy tables, and drop them: those first that refer to others."""
    for table in tables:
        op.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}")  # noqa: S608
    for table in reversed(tables):
        op.drop_table(table)


def _fill(table: str, columns: str, expressions: str, condition: str = "") -> None:
    op.execute(
        f"INSERT INTO {table} ({columns}) SELECT {expressions} FROM old_{table} {condition}"  # noqa: S608
    )


def _fill_what_is_keyed_by_visit() -> None:
    key = ", ".join(VISIT_KEY)
    there = (
        f"AS one WHERE EXISTS (SELECT 1 FROM visit WHERE "  # noqa: S608
        f"{' AND '.join(f'visit.{name} = one.{name}' for name in VISIT_KEY)})"
    )
    known = (
        " AND EXISTS (SELECT 1 FROM exposure WHERE exposure.instrument = one.instrument "
        "AND exposure.exposure = one.exposure)"
    )
    _fill("visit_definition", f"{key}, exposure", f"{key}, exposure", there + known)
    _fill("visit_detector_region", f"{key}, detector, region", f"{key}, detector, region", there)
    _fill("visit_system_membership", key, key, there)


def _drop_old(tables: tuple[str, ...]) -> None:
    for table in tables:
        op.execute(f"DROP TABLE old_{table}")


def _create_exposures(*, new: bool) -> None:
    added = [
        sa.Column("seq_start", BIG_INT, nullable=False),
        sa.Column("seq_end", BIG_INT, nullable=False),
        sa.Column("dark_time", sa.Double(), nullable=True),
        sa.Column("observation_reason", sa.String(length=128), nullable=False),
        sa.Column("tracking_ra", sa.Double(), nullable=True),
        sa.Column("tracking_dec", sa.Double(), nullable=True),
        sa.Column("sky_angle", sa.Double(), nullable=True),
        sa.Column("azimuth", sa.Double(), nullable=True),
        sa.Column("zenith_angle", sa.Double(), nullable=True),
        sa.Column("can_see_sky", sa.Boolean(), nullable=False),
    ]
    op.create_table(
        "exposure",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("exposure", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("obs_id", sa.String(length=128), nullable=False),
        sa.Column("day_obs", sa.Integer(), nullable=False),
        sa.Column("seq_num", BIG_INT, nullable=False),
        sa.Column("band", sa.String(length=8), nullable=False),
        sa.Column("physical_filter", sa.String(length=64), nullable=False),
        sa.Column("begin_mjd_tai", sa.Double(), nullable=new),
        sa.Column("end_mjd_tai", sa.Double(), nullable=new),
        sa.Column("exposure_time_s", sa.Double(), nullable=False),
        sa.Column("observation_type", sa.String(length=64), nullable=False),
        sa.Column("target_name", sa.String(length=128), nullable=False),
        sa.Column("science_program", sa.String(length=128), nullable=False),
        sa.Column("group_name", sa.String(length=128), nullable=False),
        *(added if new else []),
        sa.PrimaryKeyConstraint("instrument", "exposure", name=op.f("pk_exposure")),
    )
    if new:
        for name in ("day_obs", "group_name"):
            index = op.f(f"ix_exposure_instrument_{name}")
            op.create_index(index, "exposure", ["instrument", name], unique=False)


def _create_raws(*, new: bool) -> None:
    op.create_table(
        "raw",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("exposure", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("detector", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("size", BIG_INT, nullable=False),
        sa.Column("modified_ns", BIG_INT, nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("region", sa.LargeBinary(), nullable=new),
        sa.ForeignKeyConstraint(
            ["instrument", "exposure"],
            ["exposure.instrument", "exposure.exposure"],
            name=op.f("fk_raw_instrument_exposure_exposure"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("instrument", "exposure", "detector", name=op.f("pk_raw")),
        *([] if new else [sa.UniqueConstraint("path", name=op.f("uq_raw_path"))]),
    )
    if not new:
        return
    op.create_index(op.f("ix_raw_path"), "raw", ["path"], unique=False)
    op.create_table(
        "raw_collection",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("exposure", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("detector", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("collection", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument", "exposure", "detector"],
            ["raw.instrument", "raw.exposure", "raw.detector"],
            name=op.f("fk_raw_collection_instrument_exposure_detector_raw"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "instrument", "exposure", "detector", "collection", name=op.f("pk_raw_collection")
        ),
    )


def _create_visits(*, new: bool) -> None:
    _create_systems(new=new)
    added = [
        sa.Column("observation_reason", sa.String(length=128), nullable=False),
        sa.Column("azimuth", sa.Double(), nullable=True),
        sa.Column("zenith_angle", sa.Double(), nullable=True),
        sa.Column("region_source", sa.String(length=64), nullable=False),
    ]
    if new:
        system = sa.ForeignKeyConstraint(
            ["instrument", "visit_system"],
            ["visit_system.instrument", "visit_system.visit_system"],
            name=op.f("fk_visit_instrument_visit_system_visit_system"),
        )
    else:
        system = sa.ForeignKeyConstraint(
            ["visit_system"], ["visit_system.visit_system"], name=op.f("fk_visit_visit_system_visit_system")
        )
    op.create_table(
        "visit",
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit_system", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("visit", BIG_INT, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("day_obs", sa.Integer(), nullable=False),
        sa.Column("seq_num", BIG_INT, nullable=False),
        sa.Column("band", sa.String(length=8), nullable=new),
        sa.Column("physical_filter", sa.String(length=64), nullable=new),
        sa.Column("begin_mjd_tai", sa.Double(), nullable=new),
        sa.Column("end_mjd_tai", sa.Double(), nullable=new),
        sa.Column("exposure_time_s", sa.Double(), nullable=False),
        sa.Column("target_name", sa.String(length=128), nullable=new),
        sa.Column("science_program", sa.String(length=128), nullable=new),
        sa.Column("region", sa.LargeBinary(), nullable=False),
        *(added if new else []),
        system,
        sa.PrimaryKeyConstraint(*VISIT_KEY, name=op.f("pk_visit")),
    )
    op.create_index(op.f("ix_visit_instrument_day_obs"), "visit", ["instrument", "day_obs"], unique=False)
    _create_keyed_by_visit("visit_definition", sa.Column("exposure", BIG_INT, autoincrement=False))
    if new:
        index = op.f("ix_visit_definition_instrument_exposure")
        op.create_index(index, "visit_definition", ["instrument", "exposure"], unique=False)
    _create_keyed_by_visit(
        "visit_detector_region",
        sa.Column("detector", sa.Integer(), autoincrement=False),
        sa.Column("region", sa.LargeBinary(), nullable=False),
    )
    _create_keyed_by_visit("visit_system_membership")


def _create_systems(*, new: bool) -> None:
    own = ["instrument"] if new else []
    op.create_table(
        "visit_system",
        *(sa.Column(name, sa.String(length=64), nullable=False) for name in own),
        sa.Column("visit_system", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint(*own, "visit_system", name=op.f("pk_visit_system")),
        sa.UniqueConstraint(
            *own, "name", name=op.f(f"uq_visit_system_{'instrument_name' if new else 'name'}")
        ),
    )


def _create_keyed_by_visit(table: str, *columns: sa.Column) -> None:
    """Create a table whose key is that of a visit and the first of its own columns."""
    own = [column.name for column in columns[:1]]
    exposures = [
        sa.ForeignKeyConstraint(
            ["instrument", "exposure"],
            ["exposure.instrument", "exposure.exposure"],
            name=op.f(f"fk_{table}_instrument_exposure_exposure"),
        )
    ]
    op.create_table(
        table,
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit_system", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("visit", BIG_INT, autoincrement=False, nullable=False),
        *columns,
        *(exposures if "exposure" in own else []),
        sa.ForeignKeyConstraint(
            list(VISIT_KEY),
            [f"visit.{name}" for name in VISIT_KEY],
            name=op.f(f"fk_{table}_instrument_visit_system_visit_visit"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(*VISIT_KEY, *own, name=op.f(f"pk_{table}")),
    )

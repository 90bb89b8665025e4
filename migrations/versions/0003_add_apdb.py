"""Add the Rubin Alert Production Database at schema 10.0.0, and the marker of a visit's association.

Frozen: a later schema gets a migration of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BANDS = "ugrizy"

TYPES = {
    "long": sa.BigInteger(),
    "int": sa.Integer(),
    "short": sa.SmallInteger(),
    "double": sa.Double(),
    "float": sa.REAL(),
    "boolean": sa.Boolean(),
    "band": sa.CHAR(1),
    "version": sa.String(7),
}

METADATA_ROWS = {
    "version:schema": "10.0.0",
    "version:ApdbSql": "1.2.1",
    "config:apdb-sql.json": (
        '{"enable_replica": false, "dia_object_index": "baseline", "htm_level": 20, '
        '"htm_index_column": "pixelId", "ra_dec_columns": ["ra", "dec"]}'
    ),
}

DIA_OBJECT = [
    "long!: diaObjectId",
    "double!: validityStartMjdTai",
    "double: validityEndMjdTai",
    "double!: ra",
    "float: raErr",
    "double!: dec",
    "float: decErr ra_dec_Cov",
    *(
        line
        for b in BANDS
        for line in (
            f"float: {b}_psfFluxMean {b}_psfFluxMeanErr {b}_psfFluxSigma",
            f"int!: {b}_psfFluxNdata",
            f"float: {b}_fpFluxMean {b}_fpFluxMeanErr",
        )
    ),
    *(f"float: {b}_scienceFluxMean {b}_scienceFluxMeanErr" for b in BANDS),
    *(f"float: {b}_psfFluxMin {b}_psfFluxMax {b}_psfFluxMaxSlope {b}_psfFluxErrMean" for b in BANDS),
    "double: firstDiaSourceMjdTai lastDiaSourceMjdTai",
    "int!: nDiaSources",
    "long!: pixelId",
]

DIA_SOURCE = [
    "long!: diaSourceId visit",
    "short!: detector",
    "long: diaObjectId ssObjectId parentDiaSourceId",
    "double: ssObjectReassocTimeMjdTai",
    "double!: midpointMjdTai",
    "float: exposureTime",
    "double!: ra",
    "float: raErr",
    "double!: dec",
    "float: decErr ra_dec_Cov",
    "float!: x",
    "float: xErr",
    "float!: y",
    "float: yErr",
    "boolean: centroid_flag",
    "float: apFlux apFluxErr",
    "boolean: apFlux_flag apFlux_flag_apertureTruncated isNegative",
    "float: snr psfFlux psfFluxErr psfLnL psfChi2",
    "int!: psfNdata",
    "boolean: psfFlux_flag psfFlux_flag_edge psfFlux_flag_noGoodPixels",
    "float: trailFlux trailFluxErr",
    "double: trailRa",
    "float: trailRaErr",
    "double: trailDec",
    "float: trailDecErr trailLength trailLengthErr trailAngle trailAngleErr trailChi2",
    "int!: trailNdata",
    "int: trailAlgorithm",
    "boolean: trail_flag_edge trail_flag",
    "float: dipoleMeanFlux dipoleMeanFluxErr dipoleFluxDiff dipoleFluxDiffErr",
    "float: dipoleLength dipoleAngle dipoleChi2",
    "int!: dipoleNdata",
    "float: scienceFlux scienceFluxErr",
    "boolean: forced_PsfFlux_flag forced_PsfFlux_flag_edge forced_PsfFlux_flag_noGoodPixels",
    "float: templateFlux templateFluxErr ixx iyy ixy ixxPSF iyyPSF ixyPSF",
    "boolean: shape_flag shape_flag_no_pixels shape_flag_not_contained shape_flag_parent_source",
    "float: extendedness reliability",
    "version: reliabilityVersion",
    "band: band",
    "boolean: isDipole dipoleFitAttempted",
    "double!: timeProcessedMjdTai",
    "double: timeWithdrawnMjdTai",
    "int!: bboxSize",
    "boolean: pixelFlags pixelFlags_bad pixelFlags_cr pixelFlags_crCenter pixelFlags_edge",
    "boolean: pixelFlags_nodata pixelFlags_nodataCenter",
    "boolean: pixelFlags_interpolated pixelFlags_interpolatedCenter pixelFlags_offimage",
    "boolean: pixelFlags_saturated pixelFlags_saturatedCenter pixelFlags_suspect pixelFlags_suspectCenter",
    "boolean: pixelFlags_streak pixelFlags_streakCenter pixelFlags_injected pixelFlags_injectedCenter",
    "boolean: pixelFlags_injected_template pixelFlags_injected_templateCenter glint_trail",
    "long!: pixelId",
]

DIA_FORCED_SOURCE = [
    "long!: diaForcedSourceId diaObjectId",
    "double!: ra dec",
    "long!: visit",
    "short!: detector",
    "float: psfFlux psfFluxErr",
    "double!: midpointMjdTai",
    "float: scienceFlux scienceFluxErr",
    "band: band",
    "double!: timeProcessedMjdTai",
    "double: timeWithdrawnMjdTai",
]

INDEXES = {
    "DiaObject": {
        "IDX_DiaObject_validityStart": ["validityStartMjdTai"],
        "IDX_DiaObject_pixelId": ["pixelId"],
    },
    "DiaSource": {
        "IDX_DiaSource_visitDetector": ["visit", "detector"],
        "IDX_DiaSource_diaObjectId": ["diaObjectId"],
        "IDX_DiaSource_ssObjectId": ["ssObjectId"],
        "IDX_DiaSource_pixelId": ["pixelId"],
    },
    "DiaForcedSource": {"IDX_DiaForcedSource_visitDetector": ["visit", "detector"]},
    "DiaObject_To_Object_Match": {
        "IDX_DiaObjectToObjectMatch_diaObjectId": ["diaObjectId"],
        "IDX_DiaObjectToObjectMatch_objectId": ["objectId"],
    },
}


def columns(specification):
    for line in specification:
        kind, names = line.split(":")
        for name in names.split():
            kind_type = TYPES[kind.rstrip("!")]
            yield sa.Column(name, kind_type, autoincrement=False, nullable=not kind.endswith("!"))


def create(table, specification, *key):
    constraints = [sa.PrimaryKeyConstraint(*key, name=f"pk_{table}")] if key else []
    op.create_table(table, *columns(specification), *constraints)
    for name, names in INDEXES[table].items():
        op.create_index(name, table, names)


def upgrade():
    create("DiaObject", DIA_OBJECT, "diaObjectId", "validityStartMjdTai")
    create("DiaSource", DIA_SOURCE, "diaSourceId")
    create("DiaForcedSource", DIA_FORCED_SOURCE, "diaObjectId", "visit", "detector")
    create("DiaObject_To_Object_Match", ["long!: diaObjectId objectId", "float: dist lnP"])
    op.create_table(
        "apdb_marker",
        sa.Column("instrument", sa.String(64), nullable=False),
        sa.Column("visit", sa.BigInteger(), nullable=False),
        sa.Column("detector", sa.SmallInteger(), nullable=False),
        sa.Column("task_id", sa.String(255), nullable=False),
        sa.Column("band", sa.CHAR(1), nullable=False),
        sa.Column("midpointMjdTai", sa.Double(), nullable=False),
        sa.Column("timeProcessedMjdTai", sa.Double(), nullable=False),
        sa.Column("n_dia_sources", sa.Integer(), nullable=False),
        sa.Column("n_new_objects", sa.Integer(), nullable=False),
        sa.Column("n_updated_objects", sa.Integer(), nullable=False),
        sa.Column("n_forced_sources", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("instrument", "visit", "detector", name="pk_apdb_marker"),
    )
    op.create_index("ix_apdb_marker_visit_detector", "apdb_marker", ["visit", "detector"])
    table = op.create_table(
        "metadata",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_metadata"),
    )
    op.bulk_insert(table, [{"name": name, "value": value} for name, value in METADATA_ROWS.items()])


def downgrade():
    for table in ("metadata", "apdb_marker", *reversed(INDEXES)):
        op.drop_table(table)

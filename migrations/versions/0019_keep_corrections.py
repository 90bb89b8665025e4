"""Keep the corrections of the APDB that were asked for, so that they outlast a further run."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLE = "apdb_correction"
INDEXES = {
    "pixelId": ["pixelId"],
    "visit_detector": ["visit", "detector"],
    "diaObjectId": ["diaObjectId"],
    "target": ["target"],
    "previousDiaObjectId": ["previousDiaObjectId"],
}


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("timeMjdTai", sa.Double(), nullable=False, comment="[d]"),
        sa.Column("ra", sa.Double(), nullable=False, comment="[deg]"),
        sa.Column("dec", sa.Double(), nullable=False, comment="[deg]"),
        sa.Column("pixelId", sa.BigInteger(), nullable=False),
        sa.Column("diaSourceId", sa.BigInteger(), nullable=True),
        sa.Column("diaObjectId", sa.BigInteger(), nullable=True),
        sa.Column("visit", sa.BigInteger(), nullable=True),
        sa.Column("detector", sa.SmallInteger(), nullable=True),
        sa.Column("target", sa.BigInteger(), nullable=True),
        sa.Column("previousDiaObjectId", sa.BigInteger(), nullable=True),
        sa.Column("previousSsObjectId", sa.BigInteger(), nullable=True),
        sa.Column("by_merge", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_apdb_correction")),
    )
    for name, columns in INDEXES.items():
        op.create_index(f"ix_apdb_correction_{name}", TABLE, columns)


def downgrade() -> None:
    op.drop_table(TABLE)

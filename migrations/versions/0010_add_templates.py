"""Add templates on the tiles of the sky, and what went into them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SEARCHED = ["instrument", "collection", "band", "tile_order", "tile"]


def upgrade() -> None:
    op.create_table(
        "template",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("collection", sa.String(length=128), nullable=False),
        sa.Column("band", sa.String(length=8), nullable=False),
        sa.Column("tile_order", sa.Integer(), nullable=False),
        sa.Column("pixel_scale_arcsec", sa.Double(), nullable=False),
        sa.Column("tile", BIG_INT, nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("source", sa.String(length=1024), nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("n_inputs", sa.Integer(), nullable=False),
        sa.Column("coverage", sa.Double(), nullable=False),
        sa.Column("fwhm_arcsec", sa.Double(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_template")),
        sa.UniqueConstraint("path", name=op.f("uq_template_path")),
    )
    op.create_index(op.f("ix_template_" + "_".join(SEARCHED)), "template", SEARCHED)
    op.create_table(
        "template_input",
        sa.Column("template_pk", BIG_INT, nullable=False),
        sa.Column("visit", BIG_INT, nullable=False),
        sa.Column("detector", sa.Integer(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=True),
        sa.Column("fwhm_arcsec", sa.Double(), nullable=True),
        sa.Column("reason", sa.String(length=1024), nullable=False),
        sa.ForeignKeyConstraint(
            ["template_pk"],
            ["template.pk"],
            name=op.f("fk_template_input_template_pk_template"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("template_pk", "visit", "detector", name=op.f("pk_template_input")),
    )
    op.create_index(op.f("ix_template_input_visit_detector"), "template_input", ["visit", "detector"])


def downgrade() -> None:
    op.drop_table("template_input")
    op.drop_table("template")

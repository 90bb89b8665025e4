"""Add how deep searches are, and what they find of injected sources."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FITTED = ("mag50", "mag50_err", "mag90", "plateau", "width_mag")
MEASURED = (
    "completeness",
    "completeness_low",
    "completeness_high",
    "flux_bias",
    "flux_bias_err",
    "flux_pull_median",
    "flux_pull_sigma",
    "position_error_pixel",
    "position_pull_sigma",
)


def upgrade() -> None:
    op.create_table(
        "search_depth",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("visit", BIG_INT, nullable=True),
        sa.Column("detector", sa.Integer(), nullable=True),
        sa.Column("day_obs", sa.Integer(), nullable=True),
        sa.Column("band", sa.String(length=8), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in FITTED),
        sa.Column("n_injected", sa.Integer(), nullable=False),
        sa.Column("n_found", sa.Integer(), nullable=False),
        sa.Column("n_false", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_search_depth")),
    )
    for columns in (["task_id"], ["instrument", "visit", "detector"], ["instrument", "day_obs"]):
        op.create_index(op.f("ix_search_depth_" + "_".join(columns)), "search_depth", columns)
    op.create_table(
        "efficiency",
        sa.Column("search_pk", BIG_INT, nullable=False),
        sa.Column("quantity", sa.String(length=8), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("n_injected", sa.Integer(), nullable=False),
        sa.Column("n_found", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in MEASURED),
        sa.Column("n_false", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_pk"],
            ["search_depth.pk"],
            name=op.f("fk_efficiency_search_pk_search_depth"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("search_pk", "quantity", "low", name=op.f("pk_efficiency")),
    )


def downgrade() -> None:
    op.drop_table("efficiency")
    op.drop_table("search_depth")

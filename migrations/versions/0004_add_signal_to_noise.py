"""Add signal_to_noise, the results of the task of that name."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
RATIOS = ("snr", "snr_drp", "snr_blue", "snr_green", "snr_red", "header_snr")


def upgrade():
    op.create_table(
        "signal_to_noise",
        sa.Column("task_pk", BIG_INT, nullable=False),
        sa.Column("row_index", sa.Integer(), nullable=False),
        sa.Column("product", sa.String(32), nullable=False),
        sa.Column("path", sa.String(1024), nullable=False),
        sa.Column("file_size", BIG_INT, nullable=False),
        sa.Column("file_modified_ns", BIG_INT, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in RATIOS),
        sa.Column("n_pixels", sa.Integer(), nullable=False),
        sa.Column("n_good", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("task_pk", "row_index", name="pk_signal_to_noise"),
        sa.ForeignKeyConstraint(
            ["task_pk"], ["task.pk"], name="fk_signal_to_noise_task_pk_task", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_signal_to_noise_path", "signal_to_noise", ["path"])


def downgrade():
    op.drop_index("ix_signal_to_noise_path", "signal_to_noise")
    op.drop_table("signal_to_noise")

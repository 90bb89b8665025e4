"""Add batch_parameters, the values of large batches."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "batch_parameters",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("n_values", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_batch_parameters"),
    )


def downgrade():
    op.drop_table("batch_parameters")

"""Add the files that tasks have read, as they were then."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "file_version",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("size", BIG_INT, nullable=False),
        sa.Column("modified_ns", BIG_INT, nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_file_version")),
        sa.UniqueConstraint("path", "checksum", name=op.f("uq_file_version_path_checksum")),
    )
    op.create_table(
        "task_input",
        sa.Column("task_pk", BIG_INT, nullable=False),
        sa.Column("file_pk", BIG_INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["task_pk"], ["task.pk"], name=op.f("fk_task_input_task_pk_task"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["file_pk"], ["file_version.pk"], name=op.f("fk_task_input_file_pk_file_version")
        ),
        sa.PrimaryKeyConstraint("task_pk", "file_pk", name=op.f("pk_task_input")),
    )
    op.create_index(op.f("ix_task_input_file_pk"), "task_input", ["file_pk"], unique=False)
    op.add_column("data_product", sa.Column("modified_ns", BIG_INT, nullable=True))


def downgrade() -> None:
    op.execute("ALTER TABLE data_product DROP COLUMN modified_ns")
    op.drop_table("task_input")
    op.drop_table("file_version")

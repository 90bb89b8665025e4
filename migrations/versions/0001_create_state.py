"""Create the tables of task state and the view of state words."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC = sa.DateTime(timezone=True)

TASK_STATE = """
CREATE VIEW task_state AS
SELECT task.task_id, task.family,
       CASE task.status_code WHEN 0 THEN 'created' WHEN 1 THEN 'done' WHEN 2 THEN 'running'
            WHEN 30 THEN 'failed' WHEN 40 THEN 'process died' WHEN 50 THEN 'broken'
            WHEN 60 THEN 'dependency missing' WHEN 70 THEN 'timed out' END AS state,
       task.status_code, task.parameters, task.batch_size, task.created, task.started, task.completed,
       task.duration,
       (SELECT attempt.message FROM task_attempt AS attempt WHERE attempt.task_pk = task.pk
        ORDER BY attempt.pk DESC LIMIT 1) AS message
FROM task
"""


def upgrade() -> None:
    op.create_table(
        "run",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("packages", sa.JSON(), nullable=False),
        sa.Column("configuration", sa.JSON(), nullable=False),
        sa.Column("started", UTC, nullable=False),
        sa.Column("ended", UTC, nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_run")),
    )
    op.create_table(
        "task",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("family", sa.String(length=255), nullable=False),
        sa.Column("module", sa.String(length=255), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=False),
        sa.Column("batch_size", BIG_INT, nullable=True),
        sa.Column("created", UTC, nullable=False),
        sa.Column("started", UTC, nullable=True),
        sa.Column("modified", UTC, nullable=False),
        sa.Column("completed", UTC, nullable=True),
        sa.Column("duration", sa.Float(), nullable=True),
        sa.Column("overhead", sa.Float(), nullable=True),
        sa.Column("run_pk", BIG_INT, nullable=True),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["run_pk"], ["run.pk"], name=op.f("fk_task_run_pk_run"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_task")),
        sa.UniqueConstraint("task_id", name=op.f("uq_task_task_id")),
    )
    op.create_index(op.f("ix_task_family_status_code"), "task", ["family", "status_code"], unique=False)
    op.create_index(op.f("ix_task_status_code"), "task", ["status_code"], unique=False)
    op.create_table(
        "batch_interface",
        sa.Column("parent_task_pk", BIG_INT, nullable=False),
        sa.Column("position", BIG_INT, nullable=False),
        sa.Column("child_task_pk", BIG_INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["child_task_pk"],
            ["task.pk"],
            name=op.f("fk_batch_interface_child_task_pk_task"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["parent_task_pk"],
            ["task.pk"],
            name=op.f("fk_batch_interface_parent_task_pk_task"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("parent_task_pk", "position", name=op.f("pk_batch_interface")),
    )
    op.create_index(
        op.f("ix_batch_interface_child_task_pk"), "batch_interface", ["child_task_pk"], unique=False
    )
    op.create_table(
        "data_product",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("size", BIG_INT, nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("created", UTC, nullable=False),
        sa.Column("task_pk", BIG_INT, nullable=True),
        sa.ForeignKeyConstraint(
            ["task_pk"], ["task.pk"], name=op.f("fk_data_product_task_pk_task"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_data_product")),
        sa.UniqueConstraint("path", name=op.f("uq_data_product_path")),
    )
    op.create_index(op.f("ix_data_product_task_pk"), "data_product", ["task_pk"], unique=False)
    op.create_table(
        "task_attempt",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("task_pk", BIG_INT, nullable=False),
        sa.Column("run_pk", BIG_INT, nullable=True),
        sa.Column("status_code", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started", UTC, nullable=False),
        sa.Column("ended", UTC, nullable=True),
        sa.Column("duration", sa.Float(), nullable=True),
        sa.Column("exit_signal", sa.Integer(), nullable=True),
        sa.Column("error_class", sa.String(length=255), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("context", sa.JSON(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.Column("log", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_pk"], ["run.pk"], name=op.f("fk_task_attempt_run_pk_run"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["task_pk"], ["task.pk"], name=op.f("fk_task_attempt_task_pk_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_task_attempt")),
    )
    op.create_index(op.f("ix_task_attempt_task_pk"), "task_attempt", ["task_pk"], unique=False)
    op.create_table(
        "task_dependency",
        sa.Column("task_pk", BIG_INT, nullable=False),
        sa.Column("required_task_pk", BIG_INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["required_task_pk"],
            ["task.pk"],
            name=op.f("fk_task_dependency_required_task_pk_task"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["task_pk"], ["task.pk"], name=op.f("fk_task_dependency_task_pk_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_pk", "required_task_pk", name=op.f("pk_task_dependency")),
    )
    op.create_index(
        op.f("ix_task_dependency_required_task_pk"), "task_dependency", ["required_task_pk"], unique=False
    )
    op.create_table(
        "task_metadata",
        sa.Column("task_pk", BIG_INT, nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_pk"], ["task.pk"], name=op.f("fk_task_metadata_task_pk_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_pk", "key", name=op.f("pk_task_metadata")),
    )
    op.execute(TASK_STATE)


def downgrade() -> None:
    op.execute("DROP VIEW task_state")
    for table in (
        "task_metadata",
        "task_dependency",
        "task_attempt",
        "data_product",
        "batch_interface",
        "task",
        "run",
    ):
        op.drop_table(table)

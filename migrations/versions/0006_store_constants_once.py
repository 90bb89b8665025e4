"""Store what the members of a batch have in common once, and index no column that changes with the state."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

WORDS = """CASE task.status_code WHEN 0 THEN 'created' WHEN 1 THEN 'done' WHEN 2 THEN 'running'
            WHEN 30 THEN 'failed' WHEN 40 THEN 'process died' WHEN 50 THEN 'broken'
            WHEN 60 THEN 'dependency missing' WHEN 70 THEN 'timed out' END"""
MESSAGE = """(SELECT attempt.message FROM task_attempt AS attempt WHERE attempt.task_pk = task.pk
        ORDER BY attempt.pk DESC LIMIT 1)"""
TASK_STATE = """
CREATE VIEW task_state AS
SELECT task.task_id, task.family, {words} AS state,
       task.status_code, {parameters} AS parameters, task.batch_size, task.created, task.started,
       task.completed, task.duration, {message} AS message
FROM task {join}
"""
JOIN = "LEFT JOIN task_constants ON task_constants.pk = task.constants_pk"
MERGED = {
    "sqlite": "json_patch(coalesce(task_constants.parameters, '{}'), task.parameters)",
    "postgresql": "(coalesce(task_constants.parameters::jsonb, '{}'::jsonb) || task.parameters::jsonb)::json",
}
EACH = {
    "sqlite": "json_each({column}) AS item",
    "postgresql": "json_each_text({column}) AS item(key, value)",
}
TASK_PARAMETER = """
CREATE VIEW task_parameter AS
SELECT task.pk AS task_pk, task.task_id, item.key AS parameter_name, item.value AS parameter_value
FROM task, {own}
UNION ALL
SELECT task.pk, task.task_id, item.key, item.value
FROM task JOIN task_constants ON task_constants.pk = task.constants_pk, {common}
"""
PARAMETER = """
CREATE VIEW parameter AS SELECT DISTINCT parameter_name, parameter_value FROM task_parameter
"""


def upgrade() -> None:
    op.create_table(
        "task_constants",
        sa.Column("pk", BIG_INT, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_task_constants")),
        sa.UniqueConstraint("digest", name=op.f("uq_task_constants_digest")),
    )
    dialect = op.get_bind().dialect.name
    op.execute("DROP VIEW task_state")
    op.drop_index(op.f("ix_task_family_status_code"), "task")
    op.drop_index(op.f("ix_task_status_code"), "task")
    op.create_index(op.f("ix_task_family"), "task", ["family"], unique=False)
    name = op.f("fk_task_constants_pk_task_constants")
    if dialect == "sqlite":  # which adds a constraint only with its column
        column = f"constants_pk INTEGER CONSTRAINT {name} REFERENCES task_constants (pk)"
        op.execute(f"ALTER TABLE task ADD COLUMN {column}")
    else:
        op.add_column("task", sa.Column("constants_pk", BIG_INT, nullable=True))
        op.create_foreign_key(name, "task", "task_constants", ["constants_pk"], ["pk"])
        # Room on each page for the next state of its rows.
        op.execute("ALTER TABLE task SET (fillfactor = 50)")
    op.execute(TASK_STATE.format(words=WORDS, parameters=MERGED[dialect], message=MESSAGE, join=JOIN))
    own, common = (EACH[dialect].format(column=f"{name}.parameters") for name in ("task", "task_constants"))
    op.execute(TASK_PARAMETER.format(own=own, common=common))
    op.execute(PARAMETER)


def downgrade() -> None:
    dialect = op.get_bind().dialect.name
    for view in ("parameter", "task_parameter", "task_state"):
        op.execute(f"DROP VIEW {view}")
    merged = MERGED[dialect].replace("task_constants.parameters", "common.parameters")
    op.execute(
        f"UPDATE task SET parameters = {merged} FROM task_constants AS common "  # noqa: S608  # constants
        "WHERE common.pk = task.constants_pk"
    )
    if dialect == "postgresql":
        op.execute("ALTER TABLE task RESET (fillfactor)")
    op.execute("ALTER TABLE task DROP COLUMN constants_pk")  # with its constraint
    op.drop_index(op.f("ix_task_family"), "task")
    op.create_index(op.f("ix_task_status_code"), "task", ["status_code"], unique=False)
    op.create_index(op.f("ix_task_family_status_code"), "task", ["family", "status_code"], unique=False)
    op.drop_table("task_constants")
    op.execute(TASK_STATE.format(words=WORDS, parameters="task.parameters", message=MESSAGE, join=""))

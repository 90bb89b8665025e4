"""Add the results of the analysis of spectra: continua, velocities, sums, lines, labels and classes."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NUMBERS = {
    "continuum_fit": ("level", "snr", "chi2_dof"),
    "barycentric_correction": ("bc", "header_bc", "jd_mid", "ra", "dec"),
    "radial_velocity": ("v_rel", "v_rel_err", "bc", "v_rad", "amplitude", "peak_snr", "chi2_dof"),
    "combined_visit": ("v_rel", "v_rel_err", "v_rad", "snr"),
    "line_strength": ("width", "width_err", "flux", "flux_err", "continuum", "coverage"),
    "stellar_label": ("value", "value_err", "chi2_dof"),
    "spectral_classification": ("z", "z_err", "chi2_dof", "delta_chi2"),
}
COUNTS = {
    "continuum_fit": ("n_used",),
    "radial_velocity": ("n_pixels", "n_clipped"),
    "combined_visit": ("n_visits", "n_good"),
    "stellar_label": ("n_pixels",),
    "spectral_classification": ("n_pixels",),
}
TEXTS = {"radial_velocity": ("template", 128), "spectral_classification": ("class_name", 64)}
KEYS = {"line_strength": ("line", 64), "stellar_label": ("label", 64)}


def upgrade() -> None:
    for table, numbers in NUMBERS.items():
        texts = [TEXTS[table]] if table in TEXTS else []
        keys = [KEYS[table]] if table in KEYS else []
        op.create_table(
            table,
            sa.Column("task_pk", BIG_INT, nullable=False),
            sa.Column("row_index", sa.Integer(), nullable=False),
            sa.Column("product", sa.String(32), nullable=False),
            sa.Column("path", sa.String(1024), nullable=False),
            sa.Column("kind", sa.String(32), nullable=False),
            sa.Column("flags", BIG_INT, nullable=False),
            *(sa.Column(name, sa.String(length), nullable=False) for name, length in keys),
            *(sa.Column(name, sa.String(length), nullable=True) for name, length in texts),
            *(sa.Column(name, sa.Double(), nullable=True) for name in numbers),
            *(sa.Column(name, sa.Integer(), nullable=True) for name in COUNTS.get(table, ())),
            sa.PrimaryKeyConstraint(
                "task_pk", "row_index", *(name for name, _ in keys), name=op.f(f"pk_{table}")
            ),
            sa.ForeignKeyConstraint(
                ["task_pk"], ["task.pk"], name=op.f(f"fk_{table}_task_pk_task"), ondelete="CASCADE"
            ),
        )
        op.create_index(op.f(f"ix_{table}_path"), table, ["path"])


def downgrade() -> None:
    for table in reversed(NUMBERS):
        op.drop_table(table)

"""Add Gaussian fits of lines, and flags of signal-to-noise ratios, whose files may be unreadable."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NUMBERS = (
    *("wavelength", "centre", "centre_err", "sigma", "sigma_err", "fit_width", "fit_width_err", "fit_flux"),
    *("fit_flux_err", "fit_chi2_dof"),
)
OPTIONAL = {
    "file_size": BIG_INT,
    "file_modified_ns": BIG_INT,
    "n_pixels": sa.Integer(),
    "n_good": sa.Integer(),
}


def upgrade() -> None:
    op.add_column("line_strength", sa.Column("medium", sa.String(8), nullable=True))
    for name in NUMBERS:
        op.add_column("line_strength", sa.Column(name, sa.Double(), nullable=True))
    op.add_column("line_strength", sa.Column("fit_flags", BIG_INT, nullable=True))
    with op.batch_alter_table("signal_to_noise") as batch:
        batch.add_column(sa.Column("flags", BIG_INT, nullable=False, server_default="0"))
        for name, kind in OPTIONAL.items():
            batch.alter_column(name, existing_type=kind, nullable=True)
    with op.batch_alter_table("signal_to_noise") as batch:
        batch.alter_column("flags", existing_type=BIG_INT, server_default=None)


def downgrade() -> None:
    op.execute("DELETE FROM signal_to_noise WHERE n_pixels IS NULL OR file_size IS NULL")
    with op.batch_alter_table("signal_to_noise") as batch:
        for name, kind in OPTIONAL.items():
            batch.alter_column(name, existing_type=kind, nullable=False)
        batch.drop_column("flags")
    with op.batch_alter_table("line_strength") as batch:
        for name in ("fit_flags", *reversed(NUMBERS), "medium"):
            batch.drop_column(name)

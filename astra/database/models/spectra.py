"""Results of the analysis of spectra: one row per spectrum of a file, or per line or label of it.

Units and meanings stand in ``info`` of each column. ``flags`` has the bits of
`astra.spectra.flags.SpectrumFlag`; what they say is missing is null.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from astra.database.models.base import Base, BigInt


def _number(unit: str, description: str) -> Any:
    """Declare a real number with its unit."""
    return mapped_column(Double, info={"unit": unit, "description": description})


def _count(description: str) -> Any:
    return mapped_column(Integer, info={"unit": "", "description": description})


class SpectrumRow:
    """What all results have: whose they are, which spectrum of which file, and its flags."""

    task_pk: Mapped[int] = mapped_column(
        BigInt, ForeignKey("task.pk", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    row_index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    product: Mapped[str] = mapped_column(String(32))
    path: Mapped[str] = mapped_column(String(1024), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    flags: Mapped[int] = mapped_column(BigInt, info={"unit": "", "description": "SpectrumFlag"})


class SignalToNoise(SpectrumRow, Base):
    """Signal-to-noise ratios per pixel of one spectrum; null where nothing can be measured."""

    __tablename__ = "signal_to_noise"

    file_size: Mapped[int | None] = mapped_column(
        BigInt, info={"unit": "byte", "description": "of the file, as it was read"}
    )
    file_modified_ns: Mapped[int | None] = mapped_column(
        BigInt, info={"unit": "ns", "description": "time of its last change, since 1970"}
    )
    snr: Mapped[float | None] = _number("", "median of the good pixels")
    snr_drp: Mapped[float | None] = _number("", "as the reduction of APOGEE defines it")
    snr_blue: Mapped[float | None] = _number("", "of the chip")
    snr_green: Mapped[float | None] = _number("", "of the chip")
    snr_red: Mapped[float | None] = _number("", "of the chip")
    header_snr: Mapped[float | None] = _number("", "what the file says")
    n_pixels: Mapped[int | None] = _count("pixels of the file")
    n_good: Mapped[int | None] = _count("good pixels")


class ContinuumFit(SpectrumRow, Base):
    """The continuum of one spectrum."""

    __tablename__ = "continuum_fit"

    level: Mapped[float | None] = _number("1e-17 erg / (s cm2 Angstrom)", "median of the continuum")
    snr: Mapped[float | None] = _number("", "median signal-to-noise ratio per pixel of what was normalised")
    chi2_dof: Mapped[float | None] = _number("", "of the pixels that the continuum rests on")
    n_used: Mapped[int | None] = _count("pixels that the continuum rests on")


class BarycentricCorrection(SpectrumRow, Base):
    """The barycentric correction of one spectrum."""

    __tablename__ = "barycentric_correction"

    bc: Mapped[float | None] = _number("km / s", "composes with velocities relative to the observer")
    header_bc: Mapped[float | None] = _number("km / s", "what the file says")
    jd_mid: Mapped[float | None] = _number("d", "middle of the observation, JD UTC")
    ra: Mapped[float | None] = _number("deg", "ICRS")
    dec: Mapped[float | None] = _number("deg", "ICRS")


class RadialVelocity(SpectrumRow, Base):
    """The velocity of one spectrum."""

    __tablename__ = "radial_velocity"

    v_rel: Mapped[float | None] = _number("km / s", "relative to the frame of the file's wavelengths")
    v_rel_err: Mapped[float | None] = _number("km / s", "1 sigma")
    bc: Mapped[float | None] = _number("km / s", "barycentric correction")
    v_rad: Mapped[float | None] = _number("km / s", "barycentric: (1 + v_rel/c) (1 + bc/c) - 1, times c")
    template: Mapped[str | None] = mapped_column(String(128))
    amplitude: Mapped[float | None] = _number("", "depth of the lines over those of the template")
    peak_snr: Mapped[float | None] = _number("", "amplitude over its error")
    chi2_dof: Mapped[float | None] = _number("", "mean square residual over noise")
    n_pixels: Mapped[int | None] = _count("good pixels of the grid")
    n_clipped: Mapped[int | None] = _count("of these, those that the template cannot explain")


class CombinedVisit(SpectrumRow, Base):
    """One row of the sum of visits of a star: a sum, or a visit in it."""

    __tablename__ = "combined_visit"

    v_rel: Mapped[float | None] = _number("km / s", "by which a visit was brought to rest")
    v_rel_err: Mapped[float | None] = _number("km / s", "1 sigma; null if it was given")
    v_rad: Mapped[float | None] = _number("km / s", "barycentric")
    snr: Mapped[float | None] = _number("", "median signal-to-noise ratio per pixel")
    n_visits: Mapped[int | None] = _count("visits in the sum")
    n_good: Mapped[int | None] = _count("good pixels")


class LineStrength(SpectrumRow, Base):
    """One line of one spectrum."""

    __tablename__ = "line_strength"

    line: Mapped[str] = mapped_column(String(64), primary_key=True)
    medium: Mapped[str | None] = mapped_column(
        String(8), info={"unit": "", "description": "air or vacuum: of the wavelengths of the line list"}
    )
    wavelength: Mapped[float | None] = _number("Angstrom", "middle of the window, in vacuum at rest")
    width: Mapped[float | None] = _number("Angstrom", "equivalent width, positive for absorption")
    width_err: Mapped[float | None] = _number("Angstrom", "1 sigma")
    flux: Mapped[float | None] = _number("1e-17 erg / (s cm2)", "above the continuum")
    flux_err: Mapped[float | None] = _number("1e-17 erg / (s cm2)", "1 sigma")
    continuum: Mapped[float | None] = _number("1e-17 erg / (s cm2 Angstrom)", "under the line")
    coverage: Mapped[float | None] = _number("", "fraction of the windows that good pixels cover")
    centre: Mapped[float | None] = _number("Angstrom", "of the Gaussian, in vacuum at rest")
    centre_err: Mapped[float | None] = _number("Angstrom", "1 sigma")
    sigma: Mapped[float | None] = _number("Angstrom", "of the Gaussian, with that of the spectrograph in it")
    sigma_err: Mapped[float | None] = _number("Angstrom", "1 sigma")
    fit_width: Mapped[float | None] = _number("Angstrom", "equivalent width of the Gaussian")
    fit_width_err: Mapped[float | None] = _number("Angstrom", "1 sigma")
    fit_flux: Mapped[float | None] = _number(
        "1e-17 erg / (s cm2)", "of the Gaussian, negative for absorption"
    )
    fit_flux_err: Mapped[float | None] = _number("1e-17 erg / (s cm2)", "1 sigma")
    fit_chi2_dof: Mapped[float | None] = _number("", "of continuum and Gaussian")
    fit_flags: Mapped[int | None] = mapped_column(
        BigInt, info={"unit": "", "description": "SpectrumFlag of the Gaussian"}
    )


class StellarLabel(SpectrumRow, Base):
    """One label of one spectrum, in the unit of the training labels."""

    __tablename__ = "stellar_label"

    label: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[float | None] = _number("", "in the unit of the training labels")
    value_err: Mapped[float | None] = _number("", "1 sigma, from noise, scatter and errors of the model")
    chi2_dof: Mapped[float | None] = _number("", "of the whole spectrum")
    n_pixels: Mapped[int | None] = _count("pixels that count")


class SpectralClassification(SpectrumRow, Base):
    """Redshift and class of one spectrum."""

    __tablename__ = "spectral_classification"

    class_name: Mapped[str | None] = mapped_column(String(64))
    z: Mapped[float | None] = _number("", "redshift, in the frame of the file's wavelengths")
    z_err: Mapped[float | None] = _number("", "1 sigma")
    chi2_dof: Mapped[float | None] = _number("", "of the best fit")
    delta_chi2: Mapped[float | None] = _number("", "how much worse the second best is")
    n_pixels: Mapped[int | None] = _count("pixels that count")

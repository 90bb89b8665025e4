"""Named bits of results of the analysis, one set for all tasks: a bit means the same in each table."""

from __future__ import annotations

from enum import IntFlag


class SpectrumFlag(IntFlag):
    """What is to be known of a result; 0 is a good one.

    Results with a bit of `UNUSABLE` have no value, or none to be trusted.
    """

    READ_FAILED = 1 << 0
    """The file cannot be read."""
    NO_DATA = 1 << 1
    """Too few good pixels to measure anything."""
    FIT_FAILED = 1 << 2
    """The equations have no solution."""
    LOW_SNR = 1 << 3
    """Signal-to-noise ratio per pixel below 5."""
    FEW_PIXELS = 1 << 4
    """Less than half of the pixels are good."""
    MISSING_HEADER = 1 << 5
    """The file lacks the place, the time or the velocity that this needs."""
    NOT_CONVERGED = 1 << 6
    """The iteration ended before the result settled."""
    EDGE_OF_RANGE = 1 << 7
    """The best value is at the end of the range that was searched."""
    AMBIGUOUS = 1 << 8
    """Another value or template is nearly as good."""
    POOR_FIT = 1 << 9
    """The model differs from the data by more than their noise."""
    EXTRAPOLATED = 1 << 10
    """Outside of what the model was trained on."""
    OUTSIDE_COVERAGE = 1 << 11
    """The feature lies outside of the spectrum, or partly."""
    SINGLE_VISIT = 1 << 12
    """Only one visit could be used."""
    VISITS_REJECTED = 1 << 13
    """Some visits could not be used."""
    WEAK_PEAK = 1 << 14
    """The peak hardly rises above the noise of the correlation, or the line above that of the spectrum."""
    STAR_FLAGGED = 1 << 15
    """The survey's flags of the star or the visit have a bit that is not wanted: it is not measured."""


UNUSABLE = (
    SpectrumFlag.READ_FAILED | SpectrumFlag.NO_DATA | SpectrumFlag.FIT_FAILED | SpectrumFlag.MISSING_HEADER
)


def flag_names(flags: int) -> tuple[str, ...]:
    """Return the names of the bits that are set, lowest first."""
    return tuple(flag.name for flag in SpectrumFlag if flags & flag and flag.name)

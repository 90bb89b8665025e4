"""What the header of a corrected image says of how its signature was removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astra.images.assembly import has_overscan
from astra.images.exposure import MASK_BAD, MASK_SAT, MASK_SUSPECT

if TYPE_CHECKING:
    from astra.images.isr import CorrectedFrame
    from astra.images.isr_config import IsrConfig

_CHECKSUM_DIGITS = 32  # a card has no room for more
# Kind of calibration -> card that says whether it was applied, and those for its file and checksum.
CALIBRATION_CARDS = {
    "bias": ("ISRBIAS", "BIASFILE", "BIASSUM"),
    "dark": ("ISRDARK", "DARKFILE", "DARKSUM"),
    "flat": ("ISRFLAT", "FLATFILE", "FLATSUM"),
    "fringe": ("ISRFRING", "FRNGFILE", "FRNGSUM"),
    "defects": ("ISRDEFEC", "DFCTFILE", "DFCTSUM"),
    "crosstalk": ("ISRXTALK", "XTLKFILE", "XTLKSUM"),
    "brighter_fatter": ("ISRBF", "BFKFILE", "BFKSUM"),
    "photon_transfer": ("ISRPTC", "PTCFILE", "PTCSUM"),
}
_FIGURE_CARDS = {
    "bf_iterations": "BFITER",
    "bf_moved_electron": "BFMOVED",
    "fringe_amplitude": "FRNGAMP",
    "fringe_amplitude_err": "FRNGERR",
}


def header_cards(frame: CorrectedFrame, reference_gain: float, config: IsrConfig) -> dict[str, Any]:
    """Make the cards that tell how a frame was corrected.

    Parameters
    ----------
    frame : CorrectedFrame
        What was made.
    reference_gain : float
        Gain of the image [e-/adu].
    config : IsrConfig
        Options.

    Returns
    -------
    cards : dict
        ``ISRUNIT``; one ``ISR...`` switch for each step, whether it was applied; ``...FILE`` and ``...SUM``
        (checksum) of each calibration; per amplifier, numbered from 1: ``OSLEVEL`` and ``OSNOISE`` of its
        overscan [adu], ``AMPGAIN`` [e-/adu], ``AMPRN`` [e-], ``AMPSAT`` [adu], ``NSAT``, ``NBAD`` and
        ``NSUSP`` pixels; and ``DEADAMPS``, their names.
    """
    return {
        "ISRUNIT": "adu",
        "ISRGAIN": reference_gain,
        "OVERSCAN": config.overscan_fit.method.replace("_", " ") if _has_overscan(frame, config) else "none",
        **_switches(frame, config),
        **_sources(frame),
        "DEADAMPS": " ".join(frame.dead),
        **_amplifier_cards(frame),
        **{card: frame.figures[name] for name, card in _FIGURE_CARDS.items() if name in frame.figures},
    }


def _has_overscan(frame: CorrectedFrame, config: IsrConfig) -> bool:
    return config.overscan and any(has_overscan(amplifier) for amplifier in frame.amplifiers)


def _switches(frame: CorrectedFrame, config: IsrConfig) -> dict[str, bool]:
    """Whether each step was applied."""
    amplifiers = frame.amplifiers
    return {
        "ISROSCAN": _has_overscan(frame, config),
        "ISRPOSCN": config.parallel_overscan and any(a.parallel_overscan is not None for a in amplifiers),
        "ISRSAT": config.saturation,
        "ISRSUSP": config.suspect and any(np.isfinite(amplifier.suspect) for amplifier in amplifiers),
        "ISRTRAIL": config.trails,
        "ISRDEADA": config.dead_amplifiers,
        "ISRVAR": config.variance,
        "ISRLIN": config.linearity and any(amplifier.linearity for amplifier in amplifiers),
        "ISREDGE": config.edge_pixel > 0,
        **{cards[0]: _is_applied(frame, kind) for kind, cards in CALIBRATION_CARDS.items()},
        "ISRDEFEC": _is_applied(frame, "defects") or frame.knows_defects,
    }


def _is_applied(frame: CorrectedFrame, kind: str) -> bool:
    if kind == "fringe":
        return "fringe_amplitude" in frame.figures
    name = "responses" if kind == "photon_transfer" else kind
    return getattr(frame.applied, name) is not None


def _sources(frame: CorrectedFrame) -> dict[str, str]:
    """File and checksum of each calibration that was applied."""
    cards = {}
    for kind, (_, file_card, checksum_card) in CALIBRATION_CARDS.items():
        if _is_applied(frame, kind) and kind in frame.applied.sources:
            cards[file_card], checksum = frame.applied.sources[kind]
            cards[checksum_card] = checksum[:_CHECKSUM_DIGITS]
    return cards


def _amplifier_cards(frame: CorrectedFrame) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    for index, (amplifier, overscan) in enumerate(
        zip(frame.amplifiers, frame.overscans, strict=True), start=1
    ):
        mask = frame.mask[amplifier.assembled]
        if np.isfinite(overscan.noise_adu):
            cards[f"OSLEVEL{index}"] = float(np.mean(overscan.level))
            cards[f"OSNOISE{index}"] = overscan.noise_adu
        cards[f"AMPGAIN{index}"], cards[f"AMPRN{index}"] = amplifier.gain, amplifier.read_noise
        if np.isfinite(amplifier.saturation):
            cards[f"AMPSAT{index}"] = amplifier.saturation
        for name, bit in (("NSAT", MASK_SAT), ("NBAD", MASK_BAD), ("NSUSP", MASK_SUSPECT)):
            cards[f"{name}{index}"] = int(np.count_nonzero(mask & bit))
    return cards

"""What is needed to tell a Gaussian's width by medians."""

from __future__ import annotations

SIGMA_PER_MAD = 1.4826
"""Standard deviation of a Gaussian over the median absolute deviation from its median."""

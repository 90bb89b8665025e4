import luigi
import numpy as np

from astra.database.engine import reading
from astra.database.spectra import read_spectrum_rows
from astra.tasks.spectra.continuum import ContinuumNormalize
from astra.tasks.spectra.signal_to_noise import SignalToNoise
from astra.tasks.spectra.velocities import BarycentricCorrection
from tests.products.synthetic_spectra import write_aspcap_star, write_mwm

PRODUCTS = ("aspcapStar", "mwmVisit-boss", "mwmVisit-apogee")
N_ROWS = (1, 2, 3)


def test_all_readable_products_are_analysed_in_one_batch(astra_root):
    both = write_mwm(astra_root / "both.fits", apogee=(2, 1))
    paths = (str(write_aspcap_star(astra_root / "fit.fits")), str(both), str(both))
    tasks = [kind(product=PRODUCTS, path=paths) for kind in (SignalToNoise, ContinuumNormalize)]
    tasks.append(BarycentricCorrection(product=PRODUCTS, path=paths))
    assert luigi.build(tasks, local_scheduler=True, log_level="WARNING", no_lock=True)
    with reading(f"sqlite:///{astra_root / 'astra.db'}") as connection:
        found = {
            name: read_spectrum_rows(connection, name)[0]
            for name in ("signal_to_noise", "continuum_fit", "barycentric_correction")
        }
    assert {name: len(rows) for name, rows in found.items()} == dict.fromkeys(found, sum(N_ROWS))
    ratios = [row["snr"] for row in found["signal_to_noise"] if row["path"] == str(both)]
    assert np.allclose(ratios, 30.0, rtol=0.05)
    # Visits of two sites in one file cannot be corrected as those of one.
    assert all(row["bc"] is None for row in found["barycentric_correction"])

"""Cameras of any grid of amplifiers, written as TOML: what they read is what was put in."""

import tomllib

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.images.amplifier import READOUT_CORNERS
from astra.instruments.camera_tables import parse_camera
from astra.instruments.toml_camera import TomlCamera
from tests.instruments.cameras import HEADER

HEAD = """
name = "anycam"
pixel_scale_arcsec = 0.3
{hdus}
[files]
patterns = ["*.fits"]
layout = "{layout}"

[exposure]
day_obs = {{ value = 20261120 }}
seq_num = "SEQ"
begin = "DATE-OBS"
exposure_time_s = "EXPTIME"
physical_filter = "FILTER"
[filters]
"*" = "r"
"""
AMPLIFIER = """
[[amplifiers]]
name = "{name}"
data = "[{x1}:{x2},{y1}:{y2}]"
prescan = "[{p1}:{p2},{y1}:{y2}]"
overscan = "[{o1}:{o2},{y1}:{y2}]"
assembled = "{assembled}"
gain = {gain}
read_noise = 4
saturation = 65000
"""
LEVELS = 1000.0 + 37.0 * np.arange(6)


class Grid:
    """A grid of amplifiers of one size, each read from a corner of its own."""

    def __init__(self, *, grid, size, margins, corners, layout):
        (self.n_across, self.n_up), (self.rows, self.columns) = grid, size
        self.prescan, self.overscan = margins
        self.corners, self.layout = corners, layout
        self.width = self.prescan + self.columns + self.overscan
        self.gains = [1.0 + 0.25 * index for index in range(self.n_across * self.n_up)]

    def places(self):
        for index in range(self.n_across * self.n_up):
            yield index, index % self.n_across, index // self.n_across

    def toml(self):
        numbers = ", ".join(str(index + 1) for index, _, _ in self.places())
        hdu = f", hdu = [{numbers}]" if self.layout == "amplifiers" else ""
        text = HEAD.format(layout=self.layout, hdus=f"detectors = [{{ detector = 0{hdu} }}]")
        for index, across, up in self.places():
            x0, y0 = (0, 0) if self.layout == "amplifiers" else (across * self.width, up * self.rows)
            first = x0 + self.prescan
            text += AMPLIFIER.format(
                name=f"A{index}",
                x1=first + 1,
                x2=first + self.columns,
                y1=y0 + 1,
                y2=y0 + self.rows,
                p1=x0 + 1,
                p2=first,
                o1=first + self.columns + 1,
                o2=x0 + self.width,
                assembled=self.assembled(index, across, up),
                gain=self.gains[index],
            )
        return text

    def assembled(self, index, across, up):
        x = [across * self.columns + 1, (across + 1) * self.columns]
        y = [up * self.rows + 1, (up + 1) * self.rows]
        corner = self.corners[index]
        x, y = x[:: -1 if corner[1] == "R" else 1], y[:: -1 if corner[0] == "U" else 1]
        return f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]"

    def blocks(self, image):
        """Each amplifier as it is read out: level, and the image over its gain."""
        for index, across, up in self.places():
            part = image[
                up * self.rows : (up + 1) * self.rows, across * self.columns : (across + 1) * self.columns
            ]
            corner = self.corners[index]
            block = np.full((self.rows, self.width), LEVELS[index])
            block[:, self.prescan : self.prescan + self.columns] += (
                part[:: -1 if corner[0] == "U" else 1, :: -1 if corner[1] == "R" else 1] / self.gains[index]
            )
            yield block

    def write(self, path, image):
        primary = fits.PrimaryHDU()
        blocks = list(self.blocks(image))
        if self.layout == "detector":
            lines = [
                np.hstack(blocks[up * self.n_across : (up + 1) * self.n_across]) for up in range(self.n_up)
            ]
            primary = fits.PrimaryHDU(np.vstack(lines))
            blocks = []
        primary.header.update(HEADER)
        fits.HDUList([primary, *map(fits.ImageHDU, blocks)]).writeto(path, overwrite=True)


GRIDS = st.builds(
    Grid,
    grid=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    size=st.tuples(st.integers(1, 6), st.integers(1, 7)),
    margins=st.tuples(st.integers(1, 3), st.integers(2, 5)),
    corners=st.lists(st.sampled_from(["LL", "LR", "UL", "UR"]), min_size=6, max_size=6),
    layout=st.sampled_from(["detector", "amplifiers"]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("grids")


@settings(deadline=None, max_examples=40)
@given(grid=GRIDS, seed=st.integers(0, 2**32 - 1))
def test_the_image_that_was_read_out_comes_back(folder, grid, seed):
    shape = grid.n_up * grid.rows, grid.n_across * grid.columns
    image = np.random.default_rng(seed).uniform(0.0, 50000.0, shape)
    camera = TomlCamera(parse_camera(tomllib.loads(grid.toml()), "any.toml", folder))
    [detector] = camera.detectors
    assert (detector.n_rows, detector.n_columns) == shape
    path = folder / "raw.fits"
    grid.write(path, image)
    raw = camera.read_raw(path)
    found = np.full(shape, np.nan)
    for amplifier in raw.amplifiers:
        signal = raw.pixels[amplifier.data] - raw.pixels[amplifier.overscan].mean()
        step_y, step_x = READOUT_CORNERS[amplifier.readout_corner]
        found[amplifier.assembled] = (signal * amplifier.gain)[::step_y, ::step_x]
    np.testing.assert_allclose(found, image, atol=1e-7)

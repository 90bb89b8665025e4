"""Make the picture of the README: the report of the demonstration, as a browser shows it.

Usage: python benchmarks/readme_picture.py [--report FOLDER] [--output docs/report.png]. Without a report the
demonstration runs first, in a temporary folder. It needs chromium.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1280, 1480  # of the window [pixel]
MAX_BYTES = 200_000
COLOURS = (256, 192, 128, 96, 64, 48, 32)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def run_demo(folder):
    """Run the demonstration; return the folder of its report."""
    command = ["luigi", "--module", "astra", "Demo", "--local-scheduler"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return max(folder.glob("astra-demo/reports/*/index.html")).parent


def take_picture(index, path, *, dark=False):
    """Let the browser draw a page into a PNG."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser is installed; install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as profile:
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}",
            f"--screenshot={path}", f"--window-size={WIDTH},{HEIGHT}",
        ]  # fmt: skip
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        command = [browser, *options, *scheme, index.as_uri()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)


def make_small(path, max_bytes=MAX_BYTES):
    """Reduce the colours of a PNG until it is small enough; return its size [byte]."""
    original = Image.open(path).convert("RGB")
    for colours in COLOURS:
        reduced = original.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        reduced.save(path, optimize=True)
        if path.stat().st_size <= max_bytes:
            break
    return path.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path, help="folder of a report; the demonstration runs without it")
    parser.add_argument("--output", type=Path, default=Path("docs/report.png"))
    parser.add_argument("--dark", action="store_true", help="in dark colours")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = options.report or run_demo(Path(folder))
        options.output.parent.mkdir(parents=True, exist_ok=True)
        take_picture((report / "index.html").absolute(), options.output.absolute(), dark=options.dark)
    size = make_small(options.output)
    print(f"{options.output}: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

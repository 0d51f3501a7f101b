"""The fonts that the layout is tested in, by the Debian package that has them."""

import shutil
import subprocess

PACKAGES = {
    "DejaVu Sans": "fonts-dejavu-core",
    "Open Sans": "fonts-open-sans",
    "Roboto": "fonts-roboto",
}


ADVICE = (
    "The layout is tested in fonts that are not installed; run `make setup-tests`, or apt-get install {}"
)


def missing() -> list[str]:
    """The packages of the fonts that are not installed."""
    return [package for font, package in PACKAGES.items() if not _is_installed(font)]


def _is_installed(font: str) -> bool:
    """Whether a browser would find it, and not one that stands in for it."""
    program = shutil.which("fc-match")
    if program is None:
        return False
    found = subprocess.run(
        [program, "--format=%{family}", font], capture_output=True, text=True, check=True
    )
    return font in found.stdout.split(",")

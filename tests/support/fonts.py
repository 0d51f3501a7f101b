"""The fonts that the layout is tested in, by the Debian package that has them."""

import subprocess

PACKAGES = {
    "DejaVu Sans": "fonts-dejavu-core",
    "Open Sans": "fonts-open-sans",
    "Roboto": "fonts-roboto",
}


def missing() -> dict[str, str]:
    """The fonts that are not installed, by name, and their packages."""
    return {font: package for font, package in PACKAGES.items() if not _is_installed(font)}


def _is_installed(font: str) -> bool:
    found = subprocess.run(["fc-match", "--format=%{family}", font], capture_output=True, text=True, check=True)
    return font in found.stdout.split(",")

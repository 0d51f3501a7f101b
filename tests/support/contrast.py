"""How well colours can be told apart, by the formula of WCAG 2."""

import re
from pathlib import Path

STYLE = Path(__file__).parents[2] / "static/style.css"
TOKEN = re.compile(r"--([\w-]+): (#[0-9a-f]{6});")


def tokens(scheme: str) -> dict[str, str]:
    """The colours of the style sheet in the light or the dark scheme, by name."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)[:2]
    found = dict(TOKEN.findall(light))
    return found | dict(TOKEN.findall(dark)) if scheme == "dark" else found


def ratio(one: str, other: str) -> float:
    """From 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

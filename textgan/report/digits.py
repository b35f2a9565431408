"""How many digits a number is written with."""

from __future__ import annotations


def significant(value: float) -> str:
    """Three significant digits with their zeros, and a minus as wide as a plus: 0.0440, 555, −0.00144, 1.00."""
    if value == 0:
        return "0"
    text = f"{value:#.3g}"
    if "e" in text:  # large counts and distances in full, what is tiny with its power
        text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.1e}".replace("e-0", "e-")
    return text.removesuffix(".").replace("-", "\N{MINUS SIGN}")

"""What the drawn export may show: palettes, forbidden pairs, and the facts of picture (seed, kind, index)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from textgan.seeds import derive_seed

SOURCE = "drawn"
"""Who says the facts of a drawn picture."""
OBJECT_PALETTE: dict[str, tuple[int, int, int]] = {
    "black": (36, 36, 40),
    "white": (244, 244, 241),
    "grey": (114, 116, 120),
    "brown": (118, 72, 38),
    "orange": (242, 132, 24),
    "red": (208, 32, 36),
    "yellow": (247, 214, 40),
    "green": (40, 152, 68),
    "blue": (38, 90, 212),
    "purple": (140, 44, 164),
    "pink": (246, 126, 178),
}
"""sRGB of an object in normal light; each is >= 25 CIELAB units from the others in every light."""
BACKGROUND_PALETTE: dict[str, tuple[int, int, int]] = {
    "black": (46, 46, 52),
    "white": (236, 236, 234),
    "grey": (126, 128, 132),
    "orange": (232, 150, 78),
    "yellow": (238, 214, 92),
    "green": (116, 184, 118),
    "blue": (96, 160, 230),
    "purple": (150, 100, 198),
    "pink": (244, 158, 194),
}
"""sRGB of a backdrop in normal light: softer than the objects, so that these stand out."""
LIGHT_GAIN = {"bright": 1.06, "normal": 1.0, "dark": 0.82}
"""Factor of the light on all colours (sRGB values), before the soft gradient of the scene."""
TOO_NEAR: frozenset[tuple[str, str]] = frozenset(
    {("brown", "black"), ("brown", "orange"), ("grey", "black"), ("blue", "purple"), ("pink", "purple")}
)
"""(object colour, background) pairs hard to tell apart: never drawn, nor are pairs of one name."""
INVISIBLE_PATTERNS: frozenset[tuple[str, str]] = frozenset({("white", "bicolour"), ("black", "pointed")})
"""(colour, pattern) of cats where the second tone would be the first."""
FRAMING_SIZE = {"closeup": 0.85, "body": 0.66, "far": 0.5}
"""Longer side of the object's bounding box as a part of the central square."""

PATTERNS = ("solid", "tabby", "bicolour", "pointed", "tortoiseshell")
POSES = ("sitting", "standing", "lying")
BODIES = ("sedan", "suv", "pickup", "van", "convertible", "coupe", "hatchback")
_ATTEMPTS = 10_000


def pair_allowed(colour: str, background: str) -> bool:
    """Whether an object of this colour may stand before this background."""
    known = colour in OBJECT_PALETTE and background in BACKGROUND_PALETTE
    return known and colour != background and (colour, background) not in TOO_NEAR


def drawable(facts: dict[str, str]) -> bool:
    """Whether a combination of facts may be drawn (held-out combinations may: they are prompts of the test)."""
    if "background" in facts and "colour" in facts and not pair_allowed(facts["colour"], facts["background"]):
        return False
    if (facts.get("colour"), facts.get("pattern")) in INVISIBLE_PATTERNS:
        return False
    return facts.get("framing") != "closeup" or facts.get("side", "centre") == "centre"  # it fills the square


def random_facts(kind: str, seed: int, fixed: dict[str, str], banned: Sequence[dict[str, str]] = ()) -> dict[str, str]:
    """Facts of one picture, uniform over what may be drawn; `fixed` ones are kept, `banned` combinations avoided."""
    rng = random.Random(seed)
    for _ in range(_ATTEMPTS):
        colour, background = rng.choice(list(OBJECT_PALETTE)), rng.choice(list(BACKGROUND_PALETTE))
        facts = {"kind": kind, "colour": colour, "background": background}
        if kind == "cat":
            facts |= {"pattern": rng.choice(PATTERNS), "pose": rng.choice(POSES)}
        else:
            facts["body"] = rng.choice(BODIES)
        facts["facing"] = rng.choice(("left", "right"))
        facts["framing"] = rng.choices(("closeup", "body", "far"), (2, 4, 3))[0]
        side = rng.choice(("left", "left", "centre", "right", "right"))
        facts["side"] = "centre" if facts["framing"] == "closeup" else side
        facts["light"] = rng.choice(tuple(LIGHT_GAIN))
        facts |= fixed
        if drawable(facts) and not any(combination.items() <= facts.items() for combination in banned):
            return facts
    raise ValueError(f"no picture can be drawn of a {kind} with {fixed}")


def picture_facts(seed: int, kind: str, index: int, banned: Sequence[dict[str, str]]) -> dict[str, str]:
    """The facts of picture `index` of a kind in the export of `seed`."""
    return random_facts(kind, derive_seed(seed, "draw", "facts", kind, index), {}, banned)

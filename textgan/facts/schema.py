"""The facts of a picture: which there are and which values they take."""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = ("en", "es")
COLOURS = (
    "black", "white", "grey", "silver", "brown", "cream", "orange", "red", "yellow", "green", "blue", "purple", "pink",
)  # fmt: skip
VALUES: dict[str, tuple[str, ...]] = {
    "kind": ("cat", "car"),
    "colour": COLOURS,
    "pattern": ("solid", "tabby", "bicolour", "pointed", "tortoiseshell"),
    "body": ("sedan", "suv", "pickup", "van", "convertible", "coupe", "hatchback"),
    "pose": ("sitting", "standing", "lying"),
    "facing": ("left", "right"),
    "side": ("left", "centre", "right"),
    "framing": ("closeup", "body", "far"),
    "background": COLOURS,
    "background_tone": ("light", "mid", "dark"),
    "light": ("bright", "normal", "dark"),
}
"""Name of a fact -> its values. `pattern` and `pose` are of cats, `body` of cars; `framing` is the scale."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing said of a picture: how sure, and who says it."""

    name: str
    value: str
    confidence: float
    source: str

    def __post_init__(self) -> None:
        allowed = VALUES.get(self.name, ())
        if self.value not in allowed:
            raise ValueError(f"fact {self.name} is {self.value!r}; it must be one of {', '.join(allowed)}")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence of {self.name} is {self.confidence}; it must be between 0 and 1")

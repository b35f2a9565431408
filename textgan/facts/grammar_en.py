"""The English grammar: structure and lexicon. `an` goes with forms of class v (vowel), `a` with c.

A symbol `fact/form` is a slot: LEXICON gives its words for each value. Of a symbol's productions the sampler
uses those that say the most of the known facts, so an empty one serves only where there is nothing to say.
"""

RULES = """
S -> core side/opt ground/comma light/opt
S -> core ground/opt side/comma light/opt
S -> core side/opt light/opt ground/comma
S -> side/lead core ground/opt light/opt
S -> ground/lead core side/opt light/opt
S -> "there" "is" core side/opt ground/comma light/opt

core -> np posture/opt framing/opt
core -> framing/shot "of" np posture/opt

np -> "a" nbar/c | "an" nbar/v | "a" noun/c "that" "is" colour/any
nbar/c -> colour/c pattern/opt noun/any | pattern/c noun/any | noun/c
nbar/v -> colour/v pattern/opt noun/any | noun/v
noun/any -> kind/any | body/any
noun/c -> kind/c | body/c
noun/v -> kind/v | body/v
pattern/opt -> pattern/any |

posture/opt -> posture |
posture -> pose/any | facing/any | pose/any "and" facing/any
framing/opt -> framing/tail |
light/opt -> light/any |
side/opt -> side/any |
side/comma -> "," side/any |
side/lead -> side/any "," |

ground/opt -> ground |
ground/comma -> "," ground |
ground/lead -> ground "," |
ground -> on "a" ground/c "background" | on "an" ground/v "background"
ground/c -> background/c | background_tone/c | background_tone/c background/any
ground/v -> background/v
on -> "on" | "against"
"""

_COLOURS = (
    "black", "white", "grey", "silver", "brown", "cream", "red", "yellow", "green", "blue", "purple", "pink",
)  # fmt: skip
_COLOUR = {"c": {colour: [colour] for colour in _COLOURS}, "v": {"orange": ["orange"]}}
_COLOUR["any"] = _COLOUR["c"] | _COLOUR["v"]
_BODY = {
    "c": {
        "sedan": ["sedan"],
        "pickup": ["pickup", "pickup truck"],
        "van": ["van"],
        "convertible": ["convertible"],
        "coupe": ["coupe"],
        "hatchback": ["hatchback"],
    },
    "v": {"suv": ["suv"]},
}
_BODY["any"] = _BODY["c"] | _BODY["v"]
_KIND = {"cat": ["cat"], "car": ["car"]}
_PATTERN = {
    "solid": ["solid", "plain"],
    "tabby": ["tabby", "striped"],
    "bicolour": ["bicolour", "two-coloured"],
    "pointed": ["pointed"],
    "tortoiseshell": ["tortoiseshell"],
}

LEXICON: dict[str, dict[str, dict[str, list[str]]]] = {
    "kind": {"c": _KIND, "v": {}, "any": _KIND},
    "body": _BODY,
    "colour": _COLOUR,
    "background": _COLOUR,
    "pattern": {"c": _PATTERN, "any": _PATTERN},
    "pose": {"any": {"sitting": ["sitting"], "standing": ["standing"], "lying": ["lying", "lying down"]}},
    "facing": {
        "any": {
            "left": ["facing left", "turned to the left"],
            "right": ["facing right", "turned to the right"],
        }
    },
    "side": {
        "any": {
            "left": ["on the left", "on the left side"],
            "centre": ["in the centre", "in the middle"],
            "right": ["on the right", "on the right side"],
        }
    },
    "framing": {
        "tail": {
            "closeup": ["seen up close"],
            "body": ["seen whole", "in full view"],
            "far": ["far away", "seen from afar"],
        },
        "shot": {"closeup": ["a close-up"], "far": ["a distant view"]},
    },
    "background_tone": {"c": {"light": ["light"], "mid": ["mid-toned"], "dark": ["dark"]}},
    "light": {
        "any": {
            "bright": ["in bright light", "brightly lit"],
            "normal": ["in normal light"],
            "dark": ["in dim light", "dimly lit"],
        }
    },
}
"""Fact -> form -> value -> the ways to say it."""

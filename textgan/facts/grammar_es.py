"""The Spanish grammar: structure and lexicon; agreement is in the symbols.

`m` and `f` are the gender of a singular noun phrase; `ms`, `fs`, `mp` the forms of a colour. A noun
of gender g only ever meets articles, adjectives and participles whose symbols carry g, so that no
derivation can disagree. (`nltk.parse.generate` ignores features; non-terminals it respects.)
"""

_BY_GENDER = """
core -> core/{g}
core/{g} -> np/{g} posture/opt/{g} framing/opt/{g}
core/{g} -> framing/shot "de" np/{g} posture/opt/{g}
np/{g} -> article/{g} nbar/{g}
nbar/{g} -> noun/{g} pattern/opt/{g}
nbar/{g} -> noun/{g} colour/{g}s pattern/opt/{g}
nbar/{g} -> noun/{g} pattern/{g} colour/{g}s
nbar/{g} -> noun/{g} pattern/opt/{g} "de" "color" colour/ms
noun/{g} -> kind/{g} | body/{g}
pattern/opt/{g} -> pattern/{g} |
posture/opt/{g} -> posture/{g} |
posture/{g} -> pose/{g} | facing/{g} | pose/{g} "y" facing/{g}
framing/opt/{g} -> framing/{g} |
"""

RULES = (
    """
S -> core side/opt ground/comma light/opt
S -> core ground/opt side/comma light/opt
S -> core side/opt light/opt ground/comma
S -> side/lead core ground/opt light/opt
S -> ground/lead core side/opt light/opt
S -> "hay" core side/opt ground/comma light/opt
"""
    + _BY_GENDER.format(g="m")
    + _BY_GENDER.format(g="f")
    + """
article/m -> "un"
article/f -> "una"

light/opt -> light/any |
side/opt -> side/any |
side/comma -> "," side/any |
side/lead -> side/any "," |

ground/opt -> ground |
ground/comma -> "," ground |
ground/lead -> ground "," |
ground -> on "un" "fondo" background/ms | on "un" "fondo" background_tone/ms
ground -> on "un" "fondo" background/ms background_tone/ms
ground -> on "un" "fondo" "de" "tonos" background/mp | on "un" "fondo" "de" "tonos" background/mp background_tone/mp
on -> "sobre" | "ante"
"""
)

_COLOURS = {
    "ms": {
        "black": ["negro"], "white": ["blanco"], "grey": ["gris"], "silver": ["plateado"], "brown": ["marrón"],
        "cream": ["crema"], "orange": ["naranja"], "red": ["rojo"], "yellow": ["amarillo"], "green": ["verde"],
        "blue": ["azul"], "purple": ["morado"], "pink": ["rosa"],
    },
    "fs": {
        "black": ["negra"], "white": ["blanca"], "grey": ["gris"], "silver": ["plateada"], "brown": ["marrón"],
        "cream": ["crema"], "orange": ["naranja"], "red": ["roja"], "yellow": ["amarilla"], "green": ["verde"],
        "blue": ["azul"], "purple": ["morada"], "pink": ["rosa"],
    },
    "mp": {
        "black": ["negros"], "white": ["blancos"], "grey": ["grises"], "silver": ["plateados"], "brown": ["marrones"],
        "cream": ["crema"], "orange": ["naranja"], "red": ["rojos"], "yellow": ["amarillos"], "green": ["verdes"],
        "blue": ["azules"], "purple": ["morados"], "pink": ["rosa"],
    },
}  # fmt: skip


def _pattern(ending: str) -> dict[str, list[str]]:
    return {
        "solid": [f"lis{ending}"],
        "tabby": [f"atigrad{ending}"],
        "bicolour": ["bicolor"],
        "pointed": ["de puntas oscuras"],
        "tortoiseshell": ["carey"],
    }


def _pose(ending: str) -> dict[str, list[str]]:
    return {"sitting": [f"sentad{ending}"], "standing": ["de pie"], "lying": [f"tumbad{ending}", f"acostad{ending}"]}


def _facing(ending: str) -> dict[str, list[str]]:
    return {
        "left": ["mirando a la izquierda", f"orientad{ending} a la izquierda"],
        "right": ["mirando a la derecha", f"orientad{ending} a la derecha"],
    }


def _framing(ending: str) -> dict[str, list[str]]:
    return {
        "closeup": [f"vist{ending} de cerca"],
        "body": [f"vist{ending} por completo", "de cuerpo entero"] if ending == "o" else [f"vist{ending} por completo"],
        "far": ["a lo lejos", f"vist{ending} de lejos"],
    }


LEXICON: dict[str, dict[str, dict[str, list[str]]]] = {
    "kind": {"m": {"cat": ["gato"], "car": ["coche", "auto"]}, "f": {}},
    "body": {
        "m": {
            "sedan": ["sedán"],
            "suv": ["todoterreno"],
            "convertible": ["descapotable"],
            "coupe": ["cupé"],
            "hatchback": ["compacto"],
        },
        "f": {"sedan": ["berlina"], "pickup": ["camioneta"], "van": ["furgoneta"]},
    },
    "colour": _COLOURS,
    "background": _COLOURS,
    "pattern": {"m": _pattern("o"), "f": _pattern("a")},
    "pose": {"m": _pose("o"), "f": _pose("a")},
    "facing": {"m": _facing("o"), "f": _facing("a")},
    "framing": {
        "m": _framing("o"),
        "f": _framing("a"),
        "shot": {"closeup": ["un primer plano"], "far": ["una vista lejana"]},
    },
    "side": {
        "any": {
            "left": ["a la izquierda", "en el lado izquierdo"],
            "centre": ["en el centro", "en el medio"],
            "right": ["a la derecha", "en el lado derecho"],
        }
    },
    "background_tone": {
        "ms": {"light": ["claro"], "mid": ["medio"], "dark": ["oscuro"]},
        "mp": {"light": ["claros"], "mid": ["medios"], "dark": ["oscuros"]},
    },
    "light": {
        "any": {
            "bright": ["con mucha luz", "con luz intensa"],
            "normal": ["con luz normal"],
            "dark": ["con poca luz", "en penumbra"],
        }
    },
}
"""Fact -> form -> value -> the ways to say it."""

"""`textgan preset NAME`: write params.yaml from presets/NAME.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from textgan import params
from textgan.errors import UserError
from textgan.files import STATE, write_bytes

PRESETS = Path("presets")
KEPT = STATE / "params.yaml.before"
"""Where an edited params.yaml goes when a preset replaces it."""


def preset(
    name: Annotated[str, typer.Argument(help="A file of presets/, without .yaml.")],
    smoke: Annotated[bool, typer.Option("--smoke", help="The preset's small form, minutes long.")] = False,
) -> None:
    """Replace params.yaml by a preset; an edited one is kept in .state."""
    text = compose(name, smoke)
    target = params.PARAMS_FILE
    before = target.read_text(encoding="utf-8") if target.exists() else None
    if before == text:
        print(f"{target} is already {name}{' --smoke' if smoke else ''}")
        return
    kept = ""
    if before is not None and before not in known_texts():
        write_bytes(KEPT, before.encode())
        kept = f"; the edited one is kept as {KEPT}"
    write_bytes(target, text.encode())
    print(f"{target} is now {name}{' --smoke' if smoke else ''}{kept}")


def compose(name: str, smoke: bool = False) -> str:
    """The text of a preset, checked; with `smoke`, its file with the keys of NAME.smoke.yaml changed."""
    path = PRESETS / f"{name}.yaml"
    if name not in names():
        raise UserError(f"preset {name!r} is unknown; {PRESETS}/ has {', '.join(names())}")
    text = path.read_text(encoding="utf-8")
    params.load(path)
    if not smoke:
        return text
    changes_path = PRESETS / f"{name}.smoke.yaml"
    if not changes_path.exists():
        raise UserError(f"preset {name!r} has no small form: {changes_path} does not exist")
    changes = yaml.safe_load(changes_path.read_text(encoding="utf-8"))
    value = _changed(yaml.safe_load(text), changes, str(changes_path))
    params.from_mapping(params.Params, value, f"{changes_path} over {path}")
    header = f"# presets/{name}.yaml with the changes of {changes_path.name}.\n"
    return header + yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def names() -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml") if not path.stem.endswith(".smoke"))


def known_texts() -> set[str]:
    """What `preset` itself would write: a params.yaml with one of these texts holds no work of the user's."""
    small = [name for name in names() if (PRESETS / f"{name}.smoke.yaml").exists()]
    return {compose(name) for name in names()} | {compose(name, smoke=True) for name in small}


def _changed(value: Any, changes: Any, file: str, key: str = "") -> Any:
    """`value` with the leaves of `changes` put in; a key that `value` lacks is an error."""
    if not isinstance(changes, dict):
        return changes
    if not isinstance(value, dict):
        raise UserError(f"{file}: {key} is a mapping; the preset has {value!r} there")
    for name in changes:
        if name not in value:
            raise UserError(f"{file}: {key}{name} is unknown; the preset has {', '.join(map(str, value))}")
    return {
        name: _changed(entry, changes[name], file, f"{key}{name}.") if name in changes else entry
        for name, entry in value.items()
    }

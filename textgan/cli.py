"""The `textgan` command: thin; each subcommand is an entry point of the group `textgan.commands`."""

from __future__ import annotations

import importlib.metadata
import sys

import textgan
from textgan.errors import UserError, fail


def main() -> None:
    """Look the subcommand up by name, import only its module, run it.

    Importing every command's module (torch, prefect, dvc) would make `textgan --help` take
    seconds; so the listing reads the entry points' first docstring lines from their names alone.
    """
    commands = {point.name: point for point in importlib.metadata.entry_points(group="textgan.commands")}
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help(sorted(commands)))
        return
    if arguments[0] == "--version":
        print(textgan.__version__)
        return
    name = arguments[0]
    try:
        if name not in commands:
            raise UserError(f"textgan {name}: no such command; there are: {', '.join(sorted(commands))}")
        import typer

        from textgan import local, toplevel

        if commands[name].value.startswith("flows.") or name in AT_THE_TOP:
            toplevel.enter()
        local.apply()
        app = commands[name].load()
        if not isinstance(app, typer.Typer):
            function, app = app, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command(name=name)(function)
        sys.argv = [f"textgan {name}", *arguments[1:]]
        app(prog_name=f"textgan {name}")
    except UserError as error:
        fail(error)


AT_THE_TOP = ("preset",)
"""Commands that belong to the repository, beside those of flows: others take paths, and need none."""


def _help(names: list[str]) -> str:
    lines = [f"textgan {textgan.__version__}: text-to-image GANs on LSUN exports, reproducible from a commit.", ""]
    lines += ["Usage: textgan COMMAND [ARGUMENTS]    (textgan COMMAND --help explains one)", "", "Commands:"]
    lines += [f"  {name:<18} {SUMMARIES.get(name, '')}".rstrip() for name in names]
    return "\n".join(lines)


SUMMARIES = {
    "inspect": "what an LSUN export holds: counts, sizes, a contact sheet",
    "verify": "check a directory of image shards against its manifest",
    "fetch": "download an official LSUN archive and unpack its LMDB",
    "plan": "disk, hours and images that a preset will take",
    "export-zip": "a built image set as StyleGAN's zip and dataset.json",
    "caption": "facts and captions for pictures of one's own",
    "captions-sheet": "images with their captions on one page, to judge",
    "preset": "write params.yaml from a preset",
    "repro": "run the whole graph, push it, and say where the report is",
    "sample": "pictures from prompts, with a trained snapshot",
    "sample-export": "draw LSUN-format exports whose facts are known",
    "exports": "link the LSUN exports that params.yaml names",
    "storage": "start, stop, inspect or attach the S3 storage",
    "reproduce": "make a commit's result again and give a verdict",
    "publish": "this commit's result as an immutable release in the storage",
    "releases": "list the releases of the storage, or check one",
    "fetch-release": "a release as a directory, every file verified",
    "verify-extractor": "do Inception's weights give the published values here?",
    "compare": "metrics, curves and grids of two commits side by side",
    "share": "a short-lived URL for one file of a release",
    "lineage": "which data, parameters, code and commit made a file",
}
"""One line each, kept here so that the listing imports nothing."""


if __name__ == "__main__":
    main()

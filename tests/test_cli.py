"""The `textgan` command: thin, quick to list, clear when it is misused."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from textgan import cli


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "textgan.cli", *arguments], capture_output=True, text=True)


def test_help_lists_every_command_without_importing_one():
    code = (
        "import sys; sys.argv = ['textgan', '--help']; from textgan.cli import main; main(); "
        "heavy = {'torch', 'dvc', 'prefect', 'pandas', 'numpy', 'boto3'} & set(sys.modules); sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for point in importlib.metadata.entry_points(group="textgan.commands"):
        assert f"  {point.name}" in done.stdout


def test_an_unknown_command_is_one_line_that_names_the_known_ones():
    done = run("paint")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: textgan paint: no such command; there are: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "point", importlib.metadata.entry_points(group="textgan.commands"), ids=lambda point: point.name
)
def test_every_command_has_a_summary(point):
    assert cli.SUMMARIES.get(point.name), f"{point.name}: no line in SUMMARIES of textgan/cli.py"


def test_summaries_name_commands_only():
    assert set(cli.SUMMARIES) <= {point.name for point in importlib.metadata.entry_points(group="textgan.commands")}

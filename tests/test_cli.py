"""The `textgan` command: thin, quick to list, clear when it is misused."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from flows.remote import load_remote
from textgan import cli, toplevel


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "textgan.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


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


def test_a_command_of_the_repository_works_at_its_top_wherever_it_is_typed(tiny_repository, tmp_path):
    """Nothing is begun in the subdirectory, and relative paths are those of the person who typed them."""
    below = tiny_repository / "docs" / "deeper"
    below.mkdir(parents=True)
    done = run("reproduce", "HEAD", "--from-raw", "--keep", "kept", cwd=below)
    assert done.returncode == 2 and "nobody recorded a result" in done.stdout, done.stderr
    assert (below / "kept" / "verdict.json").exists()
    done = run("storage", "attach", "../../../elsewhere", cwd=below)
    assert done.returncode == 1 and str(tmp_path / "elsewhere") in done.stderr
    done = run("lineage", "../../work.py", cwd=below)
    assert done.returncode == 1 and done.stderr.startswith("error: lineage: work.py"), done.stderr
    assert (tiny_repository / ".state" / "storage").is_dir()
    assert sorted(path.name for path in below.iterdir()) == ["kept"]
    assert [path.name for path in (tiny_repository / "docs").iterdir()] == ["deeper"]


@pytest.mark.slow
def test_a_server_started_below_the_top_is_the_repositorys_own(tiny_repository):
    """And keys that some earlier version left below the top are not seen by git."""
    below = tiny_repository / "docs"
    below.mkdir()
    try:
        for place in (tiny_repository, below):
            assert run("storage", "start", cwd=place).returncode == 0
        identity = load_remote(tiny_repository / ".state" / "storage").identity
        assert identity and not list(below.iterdir())
    finally:
        assert run("storage", "stop", cwd=below).stdout == "storage: stopped\n"


def test_commands_that_need_no_repository_stay_where_they_are(tmp_path, monkeypatch):
    """Also inside one; and another git repository in between is not left."""
    monkeypatch.setattr(toplevel, "_started", Path())
    for place in ("top/.dvc", "top/inner/.git", "top/inner/deep", "outside"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "top" / ".dvc" / "config").touch()
    for start in ("outside", "top/inner/deep"):
        monkeypatch.chdir(tmp_path / start)
        toplevel.enter()
        assert Path.cwd() == tmp_path / start and toplevel.typed("a/b") == Path("a/b")
    monkeypatch.chdir(tmp_path / "top")
    Path("docs").mkdir()
    monkeypatch.chdir("docs")
    toplevel.enter()
    assert Path.cwd() == tmp_path / "top"
    assert toplevel.typed("a") == Path("docs/a") and toplevel.typed("../x") == Path("x")
    assert toplevel.typed("../../x") == tmp_path / "x" and toplevel.typed("/y") == Path("/y")
    assert toplevel.typed_or_name("images@d") == "images@d" and toplevel.typed_or_name("../data") == "data"


def test_keys_below_the_top_are_ignored_by_git():
    root = Path(__file__).parents[1]
    asked = ["git", "check-ignore", "-q", "docs/.dvc/config.local"]
    assert subprocess.run(asked, cwd=root).returncode == 0

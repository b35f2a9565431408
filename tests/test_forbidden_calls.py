"""No file of the repository reads a format that can run code, or unpacks an archive to disk: by the syntax tree."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE_IN_DATA = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
"""Modules that are not imported at all, but for an exception of theirs that torch raises."""
HARMLESS = {"pickle.UnpicklingError"}
CALLS = {
    "torch.jit.load": "code in a file",
    "torch.package.PackageImporter": "code in a file",
    "torch.hub.load": "code from the network",
    "pandas.read_pickle": "code in a file",
    "shutil.unpack_archive": "names that escape their directory",
}
METHODS = {"extract", "extractall"}
"""Of tarfile.TarFile and zipfile.ZipFile, whatever the object is called."""


def faults(source: str) -> Iterator[str]:
    """Each forbidden import and call of a Python source, with its line."""
    names: dict[str, str] = {}
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.asname or each.name.partition(".")[0]: _bound(each) for each in node.names}
            imported = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
            imported = [f"{node.module}.{each.name}" for each in node.names]
        else:
            continue
        yield from (
            f"{node.lineno}: import {name}"
            for name in imported
            if name.partition(".")[0] in CODE_IN_DATA and name not in HARMLESS
        )
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (why := _forbidden(node, names)):
            yield f"{node.lineno}: {why}"


def _bound(each: ast.alias) -> str:
    return each.name if each.asname else each.name.partition(".")[0]


def _forbidden(call: ast.Call, names: dict[str, str]) -> str:
    dotted = ast.unparse(call.func)
    head, _, rest = dotted.partition(".")
    name = f"{names.get(head, head)}{'.' + rest if rest else ''}"
    said = {key.arg: key.value for key in call.keywords}

    def is_constant(key: str, value: bool) -> bool:
        return isinstance(said.get(key), ast.Constant) and said[key].value is value

    if name == "torch.load" and not is_constant("weights_only", True):
        return "torch.load without weights_only=True"
    if name == "numpy.load" and not is_constant("allow_pickle", False):
        if "allow_pickle" in said or len(call.args) > 2 or None in said:  # None: of `**options`
            return "numpy.load with allow_pickle, or with arguments that are not seen"
    if isinstance(call.func, ast.Attribute) and call.func.attr in METHODS:
        return f"{dotted}: names that escape their directory"
    return f"{name}: {CALLS[name]}" if name in CALLS else ""


def test_no_file_of_the_repository_has_one() -> None:
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert len(files) > 200 and {name.partition("/")[0] for name in files} >= {"benchmarks", "scripts", "tests"}
    found = [f"{name}:{fault}" for name in files for fault in faults((ROOT / name).read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(p)",
        "import torch\ntorch.load(p, weights_only=False)",
        "import torch\ntorch.load(p, weights_only=flag)",
        "from torch import load as read\nread(p)",
        "import torch as t\nt.jit.load(p)",
        "import torch.jit\ntorch.jit.load(p)",
        "from torch import jit\njit.load(p)",
        "import pickle",
        "from pickle import loads",
        "import joblib\njoblib.load(p)",
        "import numpy as np\nnp.load(p, allow_pickle=True)",
        "import numpy\nnumpy.load(p, None, True)",
        "import numpy as np\nnp.load(p, **options)",
        "import pandas as pd\npd.read_pickle(p)",
        "import tarfile\nwith tarfile.open(p) as tar:\n    tar.extractall(q)",
        "import tarfile\ntarfile.open(p).extract('a', filter='data')",
        "import shutil\nshutil.unpack_archive(p)",
        "from shutil import unpack_archive\nunpack_archive(p)",
    ],
)
def test_each_is_found(source: str) -> None:
    assert len(list(faults(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(p, map_location='cpu', weights_only=True)",
        "import numpy as np\nnp.load(p)\nnp.load(p, allow_pickle=False)",
        "from pickle import UnpicklingError",
        "import tarfile\ntarfile.open(p).extractfile('a').read()",
        "import json\njson.load(file)",
    ],
)
def test_what_runs_no_code_is_not(source: str) -> None:
    assert list(faults(source)) == []

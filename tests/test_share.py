"""A shared URL gives one file without keys, for a short time, and nothing else."""

from __future__ import annotations

import hashlib
import time
import urllib.error
import urllib.request

import pytest

from flows import share
from tests import toy_graph
from textgan.errors import UserError


@pytest.mark.slow
def test_a_url_gives_the_file_expires_and_gives_no_other(monkeypatch, capsys):
    store = toy_graph.store(monkeypatch)
    index, _ = store.need_index("whole")
    file = next(file for file in index.files if file.path == "params.yaml")
    share.share("whole", "params.yaml")
    printed = capsys.readouterr().out
    url = printed.splitlines()[0]
    assert "X-Amz-Expires=900" in url and store.remote.secret_key not in printed
    with urllib.request.urlopen(url) as reply:
        assert hashlib.sha256(reply.read()).hexdigest() == file.sha256
    other = next(one for one in index.files if one.sha256 != file.sha256)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace(file.sha256, other.sha256).replace(file.sha256[:2], other.sha256[:2], 1))
    assert refused.value.code == 403
    short = share.presigned(store, file.sha256, 1)
    time.sleep(2.5)
    with pytest.raises(urllib.error.HTTPError) as late:
        urllib.request.urlopen(short)
    assert late.value.code == 403
    with pytest.raises(UserError, match="has no file 'nothing'"):
        share.share("whole", "nothing")


@pytest.mark.parametrize("seconds", [0, -60, 3601])
def test_a_long_life_is_refused(seconds):
    with pytest.raises(UserError, match="at most 60 minutes"):
        share.presigned(None, "0" * 64, seconds)  # type: ignore[arg-type]

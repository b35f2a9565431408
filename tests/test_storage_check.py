"""`textgan storage check` against a real server: every damaged or missing object is named, and can be written again."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from flows import history, storage, storage_check
from flows.releases import Store
from tests import toy_graph
from textgan.errors import UserError


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """The storage of a published result; the test works in its repository."""
    return toy_graph.store(monkeypatch)


def key_of(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def weights(store: Store) -> tuple[str, str]:
    """Path and key, below the prefix, of the file of weights as DVC stores it."""
    path = "models/catcar/G_ema.safetensors"
    out = next(out for stage in history.present_lock().values() for out in stage.outs if out.path == "models/catcar")
    return path, key_of(history.files_of(out)[path])


@pytest.mark.slow
def test_a_whole_storage_is_whole_and_its_parts_are_all_of_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The M parts of --subset N/M read each object once."""
    storage.check_objects()
    assert "nothing is missing" in capsys.readouterr().out
    whole = storage_check.check(store.remote)
    parts = [storage_check.check(store.remote, (n, 3)) for n in (1, 2, 3)]
    assert whole.wrong == {} and whole.objects == whole.of_objects == sum(part.objects for part in parts) > 20
    assert max(part.objects for part in parts) < whole.objects


@pytest.mark.slow
def test_damaged_objects_are_named_and_mended(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Other bytes of the same length, and no object at all: key and path are said, exit code 1, --mend mends both."""
    path, key = weights(store)
    listing = key_of(storage_check.stored_outs(Path())["data/pairs/catcar"])
    full = f"{store.remote.prefix}/{key}"
    body = store.s3.get_object(Bucket=store.remote.bucket, Key=full)["Body"].read()
    store.s3.put_object(Bucket=store.remote.bucket, Key=full, Body=b"\0" + body[1:])
    store.s3.delete_object(Bucket=store.remote.bucket, Key=f"{store.remote.prefix}/{listing}")
    with pytest.raises(UserError, match="2 objects are damaged or missing"):
        storage.check_objects()
    out = capsys.readouterr().out
    assert f"{key}: damaged: its bytes have" in out and path in out
    assert f"{listing}: missing: data/pairs/catcar, named by dvc.lock" in out
    storage.check_objects(mend=True)
    assert "written again from the cache" in capsys.readouterr().out
    assert storage_check.check(store.remote).wrong == {}


@pytest.mark.slow
def test_what_this_cache_has_not_right_is_not_mended(store: Store) -> None:
    """A release's object is named too; only publishing mends it, never another file's bytes."""
    index = store.need_index("whole")[0]
    file = next(file for file in index.files if file.path == "params.yaml")
    key = f"sha256/{file.sha256[:2]}/{file.sha256}"
    full = f"{store.remote.prefix}/{key}"
    body = store.s3.get_object(Bucket=store.remote.bucket, Key=full)["Body"].read()
    store.s3.put_object(Bucket=store.remote.bucket, Key=full, Body=body[:-1])
    report = storage_check.check(store.remote, mend=True)
    assert list(report.wrong) == [key] and "params.yaml of release whole" in report.wrong[key]
    assert report.mended == []
    store.put_over(full, body, file.sha256)


@pytest.mark.slow
def test_what_only_an_older_commit_names_is_looked_for_when_asked(store: Store, tmp_path: Path) -> None:
    """Not what git itself has of it: metrics are never pushed."""
    toy_graph.run(tmp_path, "git", "clone", "-q", str(Path.cwd()), "clone")
    with contextlib.chdir(tmp_path / "clone"):
        whole = storage_check.check(store.remote, all_commits=True)
        assert whole.wrong == {}
        lock = Path("dvc.lock").read_text(encoding="utf-8")
        md5 = next(out.md5 for stage in history.present_lock().values() for out in stage.outs if "models" in out.path)
        never = "0" * 31 + "a.dir"
        Path("dvc.lock").write_text(lock.replace(md5, never), encoding="utf-8")
        older = toy_graph.commit(Path.cwd(), "A result that nobody pushed")
        Path("dvc.lock").write_text(lock, encoding="utf-8")
        toy_graph.commit(Path.cwd(), "The one that was")
        assert storage_check.check(store.remote).wrong == {}
        wrong = storage_check.check(store.remote, all_commits=True).wrong
        assert wrong == {key_of(never): f"missing: models/catcar, named by dvc.lock of {older[:12]}"}


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--subset is .* must be N/M"):
        storage_check.parse_subset(text)

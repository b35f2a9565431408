"""Which files recorded directories hold: by DVC's cache and the tree, else by the storage, which is asked once."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from flows import history
from flows.gc import MAX_LISTING_BYTES
from flows.history import Entry
from flows.releases import THREADS, Store
from flows.remote import load_remote
from flows.storage import PLACE
from textgan.errors import UserError


class Listings:
    """Remembers each listing; a storage that is not there, or does not answer, is not asked again."""

    def __init__(self) -> None:
        self.here: dict[tuple[str, str], dict[str, str] | None] = {}
        self.brought: dict[str, dict[str, str] | None] = {}
        """{md5 of a directory: {relative path: md5}} of what the storage was asked for."""
        self.store: Store | None = None
        self.is_asked = False

    def files(self, out: Entry, ask: bool = True) -> dict[str, str] | None:
        """{path: md5} of the files of an out; None where the listing is not here, nor in the storage if it may ask."""
        key = (out.path, out.md5)
        if key not in self.here:
            try:
                self.here[key] = history.files_of(out)
            except UserError:
                self.here[key] = None
        found = self.here[key]
        if found is not None:
            return found
        if ask:
            self.bring([out.md5])
        listed = self.brought.get(out.md5)
        return None if listed is None else {f"{out.path}/{relative}": md5 for relative, md5 in listed.items()}

    def bring(self, hashes: Iterable[str]) -> None:
        """Ask the storage for the listings of these directories, many at once."""
        wanted, store = sorted(set(hashes) - self.brought.keys()), self._storage()

        def asked(md5: str) -> dict[str, str] | None:
            try:
                payload = store and store.read_optional(
                    f"{store.remote.prefix}/{history.key_of(md5)}", MAX_LISTING_BYTES
                )
                return history.listing(payload, md5) if payload else None
            except UserError:  # it is damaged, or nobody answers any more
                return None

        with ThreadPoolExecutor(THREADS) as pool:
            self.brought |= zip(wanted, pool.map(asked, wanted), strict=True)

    def _storage(self) -> Store | None:
        """The storage that this clone knows, where it answers."""
        if not self.is_asked:
            self.is_asked = True
            remote = load_remote(PLACE)
            try:
                if remote is not None:
                    store = Store(remote)
                    store.read_optional(f"{remote.prefix}/identity")
                    self.store = store
            except UserError:
                self.store = None
        return self.store

"""Reading image shards and pairs: an index, a memory map, uint8 pixels; no LMDB, no NLTK.

Safe to use after a fork and to send to another process: what was opened belongs to the process that opened it.
"""

from __future__ import annotations

import collections
import functools
import io
import itertools
import mmap
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from pyarrow import parquet

from textgan.batch_memory import BatchMemory
from textgan.errors import UserError
from textgan.manifest import read_images
from textgan.seeds import derive_seed

try:
    import simplejpeg
except ImportError:  # optional: a bare GPU machine may lack it; Pillow gives the same pixels, slower
    simplejpeg = None


class ImageShards:
    """The images of one split of a shard directory, by position; `keys` are their sample keys in order."""

    def __init__(self, directory: Path, split: str) -> None:
        """Raises UserError where manifest, index and shards do not agree."""
        self.directory, self.split = Path(directory), split
        self.manifest = read_images(self.directory)
        if split not in self.manifest.splits:
            raise UserError(f"{directory}: has no split {split!r}; it has {', '.join(self.manifest.splits)}")
        self.width, self.height = self.manifest.width, self.manifest.height
        self.shards = self.manifest.splits[split]
        index = self._stored_index() if (self.directory / "index.parquet").exists() else self._scanned_index()
        if len(index) != self.manifest.images(split):
            counts = f"{len(index)} {split} images; manifest.json says {self.manifest.images(split)}"
            raise UserError(f"{directory}: the index has {counts}")
        self._keys = index["sample_key"]
        self._shard = index["shard"].to_numpy()
        self._offset, self._bytes = index["offset"].to_numpy(), index["bytes"].to_numpy()
        self._maps: dict[int, mmap.mmap] = {}
        self._pid = os.getpid()

    def __len__(self) -> int:
        return len(self._offset)

    @functools.cached_property
    def keys(self) -> list[str]:
        """Sample keys in the order of the shards."""
        return self._keys.to_pylist()

    def encoded(self, index: int) -> memoryview:
        """The encoded bytes of one image, not copied."""
        start = int(self._offset[index])
        return memoryview(self._map(int(self._shard[index])))[start : start + int(self._bytes[index])]

    def images(
        self, indices: Sequence[int] | np.ndarray, batch: np.ndarray | None = None
    ) -> np.ndarray:  # -> uint8 [N,H,W,3]
        """Decoded images at positions, in `batch` where one is given.

        Raises UserError naming the shard and key of one that is damaged.
        """
        if batch is None:
            batch = np.empty((len(indices), self.height, self.width, 3), np.uint8)
        rows = np.asarray(indices, np.int64)
        starts, shards = self._offset[rows], self._shard[rows]  # looked up at once: one by one takes microseconds
        places = zip(shards.tolist(), starts.tolist(), (starts + self._bytes[rows]).tolist(), strict=True)
        for pixels, row, (shard, start, end) in zip(batch, rows, places, strict=True):
            try:
                decode_into(pixels, self._map(shard)[start:end])
            except (ValueError, OSError) as error:
                file, key = self.directory / self.shards[shard].name, self._keys[int(row)].as_py()
                raise UserError(f"{file}: {key} cannot be read ({error}); `textgan verify` says more") from None
        return batch

    def all(self) -> np.ndarray:  # -> uint8 [N,H,W,3]
        """Every image, for splits that fit in memory."""
        return self.images(range(len(self)))

    def _map(self, shard: int) -> mmap.mmap:
        if self._pid != os.getpid():
            self._maps, self._pid = {}, os.getpid()
        if shard not in self._maps:
            path = self.directory / self.shards[shard].name
            try:
                with open(path, "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    if size != self.shards[shard].bytes:
                        raise UserError(f"{path}: has {size} bytes; manifest.json says {self.shards[shard].bytes}")
                    self._maps[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        return self._maps[shard]

    def _stored_index(self) -> pa.Table:
        table = parquet.ParquetFile(self.directory / "index.parquet").read()  # read_table takes three times as long
        return table.filter(pc.equal(table["split"], self.split))

    def _scanned_index(self) -> pa.Table:
        """The same index from the tar headers, for directories that lost theirs."""
        rows: list[tuple[int, str, int, int]] = []
        for number, shard in enumerate(self.shards):
            rows += [(number, *member) for member in scanned(self.directory / shard.name)]
        names, types = ("shard", "sample_key", "offset", "bytes"), (pa.int32(), pa.string(), pa.int64(), pa.int32())
        columns = [pa.array([row[column] for row in rows], kind) for column, kind in enumerate(types)]
        return pa.Table.from_arrays(columns, names=list(names))

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_maps": {}}


def scanned(shard: Path) -> list[tuple[str, int, int]]:
    """(sample key, offset, bytes) of each image of a shard, by its tar headers; no image is read."""
    with tarfile.open(shard, "r:") as tar:
        return [(member.name.split(".")[0], member.offset_data, member.size) for member in tar]


def decode_into(pixels: np.ndarray, encoded: bytes | memoryview) -> None:  # uint8 [H,W,3]
    """RGB pixels of a jpg, png or webp written by the images stage, decoded where they are wanted.

    Raises ValueError or OSError where it is damaged or of another size.
    """
    in_place = simplejpeg is not None and encoded[:3] == b"\xff\xd8\xff"
    if in_place:
        found = simplejpeg.decode_jpeg(encoded, "RGB", fastdct=False, fastupsample=False, buffer=pixels)
    else:
        found = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    if found.shape != pixels.shape:
        size, wanted = ((shape[1], shape[0]) for shape in (found.shape, pixels.shape))
        raise ValueError(f"it is {size[0]}x{size[1]} and must be {wanted[0]}x{wanted[1]}")
    if not in_place:
        pixels[:] = found


class Pairs:
    """The text of one split, aligned with its images: row i belongs to image i."""

    def __init__(self, directory: Path, split: str) -> None:
        """Raises UserError where the split has no Parquet file."""
        self.directory, self.split = Path(directory), split
        files = sorted(self.directory.glob(f"{split}-*.parquet"))
        if not files:
            raise UserError(f"{directory}: has no {split}-*.parquet; it must be a directory of pairs")
        self.table = pa.concat_tables([parquet.read_table(file) for file in files])

    def __len__(self) -> int:
        return len(self.table)

    @functools.cached_property
    def keys(self) -> list[str]:
        """Sample keys in order."""
        return self.table["sample_key"].to_pylist()

    def column(self, name: str) -> list:
        """One column as Python values, e.g. `captions` (a list of strings a row)."""
        return self.table[name].to_pylist()

    def check_aligned(self, images: ImageShards) -> None:
        """Raises UserError where images and text do not have the same keys in the same order."""
        if self.keys == images.keys:
            return
        where = next((i for i, (a, b) in enumerate(zip(self.keys, images.keys, strict=False)) if a != b), None)
        what = f"{len(self)} rows, {len(images)} images" if where is None else f"row {where} is {self.keys[where]}"
        raise UserError(f"{self.directory}: {self.split} does not match {images.directory}: {what}; run pairs again")


def order(num_images: int, seed: int, start_nimg: int = 0, rank: int = 0, world: int = 1) -> Iterator[int]:
    """Image positions for ever, from image count `start_nimg`; this rank takes every `world`-th.

    Over all ranks each position comes once in an epoch; where it stands depends on seed and count alone, so a
    run resumed at a count goes on as if it had not stopped.
    """
    if num_images < 1:
        raise ValueError("order of no images")
    current, permutation = -1, np.empty(0, np.int64)
    position = start_nimg + rank
    while True:
        epoch, place = divmod(position, num_images)
        if epoch != current:
            generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "epoch", epoch)))
            current, permutation = epoch, generator.permutation(num_images)
        yield int(permutation[place])
        position += world


def batches(
    shards: ImageShards,
    size: int,  # images a batch, of this rank
    seed: int,
    start_nimg: int = 0,  # images that all ranks have seen
    end_nimg: int | None = None,  # None: for ever
    rank: int = 0,
    world: int = 1,
    workers: int = 0,  # threads that decode ahead: no pixel is copied between processes
) -> Iterator[np.ndarray]:  # of uint8 [N,H,W,3]
    """Shuffled batches, the images of `order`; the last one is short where the end is. Any number of workers, the same.

    A worker is a thread because decoding holds no interpreter lock. Raises UserError as `ImageShards.images` does.
    """
    positions = order(len(shards), seed, start_nimg, rank, world)
    if end_nimg is not None:
        positions = itertools.islice(positions, len(range(start_nimg + rank, end_nimg, world)))
    wanted = iter(lambda: list(itertools.islice(positions, size)), [])
    memory = BatchMemory(size, shards.height, shards.width)

    def read(part: list[int]) -> np.ndarray:
        return shards.images(part, memory.take(len(part)))

    if workers == 0:
        yield from map(read, wanted)
        return
    pool = ThreadPoolExecutor(workers, "decode")
    try:
        ahead = collections.deque(pool.submit(read, part) for part in itertools.islice(wanted, workers + 1))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(read, part) for part in itertools.islice(wanted, 1))
    finally:
        pool.shutdown(cancel_futures=True)

"""Where shards are built: in this process, in a pool of processes, or on a Dask cluster. The bytes are the same.

Which one is said by the environment, never by params: TEXTGAN_WORKERS (default: the cores this process may
use; 1 builds in this process) and TEXTGAN_DASK (a scheduler's address; its workers must see the same files).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import logging
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from textgan.errors import UserError

if TYPE_CHECKING:
    import distributed

T = TypeVar("T")
R = TypeVar("R")
MOST = 1024
"""Workers."""
ATTEMPTS = 3
"""How often a task is tried when its worker dies."""
CONNECT_SECONDS = 30


def worker_count() -> int:
    """Workers from TEXTGAN_WORKERS, or as many as there are cores for this process."""
    text = os.environ.get("TEXTGAN_WORKERS", "")
    if not text:
        return len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MOST:
        raise UserError(f"environment: TEXTGAN_WORKERS is {text!r}; it must be a number from 1 to {MOST}")
    return int(text)


class Run(Protocol):
    """How an open engine is used: results of `function` on each task, as they come; few tasks are held at a time.

    An exception of the function ends the run. A task whose worker died is tried again.
    """

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]: ...


@contextlib.contextmanager
def opened(workers: int) -> Iterator[Run]:
    """The engine that the environment names; its workers start once and serve all runs. Raises UserError."""
    address = os.environ.get("TEXTGAN_DASK", "")
    if address:
        client = _dask_client(address)
        try:
            yield functools.partial(_run_dask, client, address)
        finally:
            logging.disable(logging.CRITICAL)  # it logs a traceback where its scheduler is lost, which was said
            client.close()
            logging.disable(logging.NOTSET)
    elif workers == 1:
        yield _run_here
    else:
        pool = _Pool(workers)
        try:
            yield pool.run
        finally:
            pool.end()


def _run_here(function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    return map(function, tasks)


class _Pool:
    """Processes of this machine, started anew where one was killed."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        # forkserver: workers start as forks of a clean process that has imported the heavy modules once, so
        # they inherit no LMDB handle, thread or lock of this one. Not pipeline.images itself: it is the main module,
        # which each worker runs anew under another name.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["pipeline.build", "pipeline.imaging", "pipeline.ingest"])
        forkserver.ensure_running()  # it imports while this process looks for the first task
        self.executor = self._started()

    def _started(self) -> concurrent.futures.ProcessPoolExecutor:
        return concurrent.futures.ProcessPoolExecutor(
            self.workers, mp_context=self.context, initializer=_die_with_parent
        )

    def end(self) -> None:
        """Wait for what runs, drop what waits."""
        self.executor.shutdown(wait=True, cancel_futures=True)

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """As Run."""
        waiting = iter(tasks)
        again: list[tuple[T, int]] = []
        pending: dict[concurrent.futures.Future[R], tuple[T, int]] = {}
        while True:
            try:
                while len(pending) < 2 * self.workers:
                    if not again:
                        task = next(waiting, None)
                        if task is None:
                            break
                        again.append((task, 1))
                    # It leaves the list when the pool has it: a pool that broke since then does not take it.
                    pending[self.executor.submit(function, again[-1][0])] = again[-1]
                    again.pop()
                if not pending:
                    return
                done, _ = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                    del pending[future]
            except BrokenProcessPool:  # one death breaks the whole pool: all that was pending is tried again
                again += [(task, attempt + 1) for task, attempt in pending.values()]
                pending = {}
                if max(attempt for _, attempt in again) > ATTEMPTS:
                    raise UserError(
                        f"a worker process was killed {ATTEMPTS} times (out of memory?); what is finished is kept: "
                        "repeat with a smaller TEXTGAN_WORKERS"
                    ) from None
                self.end()
                self.executor = self._started()


def _die_with_parent() -> None:
    """A worker whose parent was killed ends at once, instead of writing on or waiting for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a worker"

    def watch() -> None:
        parent.join()  # its end of a pipe closes when it dies, also before this worker began
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _dask_client(address: str) -> distributed.Client:
    try:
        import distributed
    except ImportError:
        raise UserError("environment: TEXTGAN_DASK is set and dask.distributed is not installed") from None
    # Before dask sees it: a client that never began complains when it is thrown away.
    if not re.fullmatch(r"((tcp|tls|wss?)://)?([^\s/:\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}/?", address):
        raise UserError(f"environment: TEXTGAN_DASK is {address!r}; it must be HOST:PORT or tcp://HOST:PORT")
    encrypted = address.startswith(("tls:", "wss:"))
    if encrypted and not distributed.Security().get_connection_args("client").get("ssl_context"):
        raise UserError(f"environment: TEXTGAN_DASK is {address!r}, and Dask knows no certificates (comm.tls)")
    try:
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"environment: TEXTGAN_DASK is {address!r}: {error}") from None


def _run_dask(client: distributed.Client, address: str, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    import distributed
    from distributed.client import as_completed

    kept = "what is finished is kept: repeat"
    waiting = iter(tasks)
    slots = 2 * max(1, sum(client.nthreads().values()))

    def submit() -> Any:
        task = next(waiting, None)
        return None if task is None else client.submit(function, task, pure=False, retries=ATTEMPTS - 1)

    first = [future for _ in range(slots) if (future := submit()) is not None]
    pending = as_completed(first, loop=client.loop)  # there is no default client
    for future in pending:
        try:
            result = future.result()
        except distributed.KilledWorker as error:
            raise UserError(
                f"Dask workers were killed at one task again and again (out of memory?), last "
                f"{error.last_worker.address}; {kept} with fewer threads a worker"
            ) from None
        except concurrent.futures.CancelledError:  # a future of a lost scheduler, too
            raise UserError(f"the Dask scheduler at {address} is lost; {kept}") from None
        except OSError as error:
            where = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise UserError(f"a Dask worker: {where}; its workers must see the files of this process") from None
        yield result
        following = submit()
        if following is not None:
            pending.add(following)

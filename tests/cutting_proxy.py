"""A proxy on loopback that drops connections in the middle of a reply."""

from __future__ import annotations

import re
import socket
import threading


class CuttingProxy:
    """Passes bytes to a server and back; each of the first `cuts` connections ends after `after` bytes of replies."""

    def __init__(self, endpoint: str, cuts: int, after: int) -> None:
        host, port = re.fullmatch(r"http://(.*):(\d+)", endpoint).groups()  # type: ignore[union-attr]
        self.target, self.cuts, self.after = (host, int(port)), cuts, after
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            threading.Thread(target=self.copy, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self.copy, args=(far, near, self.after), daemon=True).start()

    def copy(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while block := source.recv(1 << 16):
                passed += len(block)
                if limit is not None and passed > limit and self.cuts > 0:
                    self.cuts -= 1
                    break
                target.sendall(block)
        except OSError:
            pass  # the other side has ended
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already

"""A proxy on loopback that drops connections in the middle of a request or of a reply."""

from __future__ import annotations

import re
import socket
import threading


class CuttingProxy:
    """Passes bytes to a server and back; the first `cuts` connections that carry `after` bytes one way end there."""

    def __init__(self, endpoint: str, cuts: int, after: int) -> None:
        host, port = re.fullmatch(r"http://(.*):(\d+)", endpoint).groups()  # type: ignore[union-attr]
        self.target, self.cuts, self.after = (host, int(port)), cuts, after
        self.lock = threading.Lock()
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
            threading.Thread(target=self.copy, args=(near, far), daemon=True).start()
            threading.Thread(target=self.copy, args=(far, near), daemon=True).start()

    def cut(self) -> bool:
        """Whether a connection is to end now."""
        with self.lock:
            left, self.cuts = self.cuts, max(0, self.cuts - 1)
            return left > 0

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        try:
            while block := source.recv(1 << 16):
                passed += len(block)
                if passed > self.after and self.cut():
                    break
                target.sendall(block)
        except OSError:
            pass  # the other side has ended
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already

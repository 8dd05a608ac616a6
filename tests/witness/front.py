"""A proxy for plain http: the official package's managers know no other way.

Only the witnesses may use it. What comes in is handed to the emulators as if it had come by https.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.sandbox.process import LOOPBACK
from tests.sandbox.wire import Request, Switchboard


@contextlib.contextmanager
def plain_proxy(board: Switchboard) -> Iterator[str]:
    """Run one, and give the value for ``HTTP_PROXY``."""
    class Handler(BaseHTTPRequestHandler):
        def do_request(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = board.handle(Request(
                self.command, parts.netloc, parts._replace(scheme="", netloc="").geturl(),
                tuple(self.headers.items()), body))
            self.send_response(answer.status, "Sandbox")
            for name, value in {**answer.headers, "Content-Length": len(answer.body)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(answer.body)

        do_DELETE = do_GET = do_POST = do_PUT = do_request  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

"""A stand-in of the hub's HTTP API on loopback: one repository, served from a folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "microsoft/phi-test"


@contextmanager
def serve(folder: Path, *, status: int = 200, code: str = "") -> Iterator[tuple[str, list[str]]]:
    """The endpoint's URL and the paths asked for. `status` and `code` make every answer an error."""
    asked: list[str] = []
    names = sorted(path.name for path in folder.iterdir())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, body: bytes, send: bool, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if send:
                self.wfile.write(body)

        def do_HEAD(self) -> None:  # noqa: N802
            self.route(send=False)

        def do_GET(self) -> None:  # noqa: N802
            self.route(send=True)

        def route(self, send: bool) -> None:
            asked.append(self.path)
            path = self.path.partition("?")[0]
            if status != 200:
                return self.answer(b'{"error": "no"}', send, status, X_Error_Code=code, X_Error_Message="no")
            if path in (f"/api/models/{REPO}/revision/{ref}" for ref in ("main", COMMIT)):
                files = [{"rfilename": name} for name in names]
                body = {"id": REPO, "sha": COMMIT, "siblings": files, "private": False, "tags": [], "downloads": 0}
                return self.answer(json.dumps(body).encode(), send, Content_Type="application/json")
            if path.startswith(f"/api/models/{REPO}/tree/{COMMIT}"):
                tree = [self.node(folder / name) for name in names]
                return self.answer(json.dumps(tree).encode(), send, Content_Type="application/json")
            name = path.rpartition("/")[2]
            if path == f"/{REPO}/resolve/{COMMIT}/{name}" and name in names:
                raw = (folder / name).read_bytes()
                return self.answer(raw, send, ETag=f'"{hashlib.sha256(raw).hexdigest()}"', X_Repo_Commit=COMMIT)
            revision = "/revision/" in path and path.startswith(f"/api/models/{REPO}/")
            missing = "RevisionNotFound" if revision else "RepoNotFound"
            return self.answer(b'{"error": "not found"}', send, 404, X_Error_Code=missing)

        @staticmethod
        def node(path: Path) -> dict[str, object]:
            raw = path.read_bytes()
            return {"type": "file", "path": path.name, "size": len(raw), "oid": hashlib.sha1(raw).hexdigest()}  # noqa: S324

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()

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
def serve(
    folder: Path, *, status: int = 200, code: str = "", commit: str = COMMIT, cut: int = 0, short: int = 0
) -> Iterator[tuple[str, list[str]]]:
    """The endpoint's URL and the paths asked for, with the range asked for behind a space.

    `status` and `code` make every answer an error; the first answer with weights ends after `cut` bytes; weights
    are `short` bytes shorter than they are said to be. `commit` is what the revision main points to.
    """
    asked: list[str] = []
    cuts = [cut] if cut else []
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
            wanted = self.headers.get("Range")
            asked.append(f"{self.path} {wanted}" if wanted else self.path)
            path = self.path.partition("?")[0]
            if status != 200:
                return self.answer(b'{"error": "no"}', send, status, X_Error_Code=code, X_Error_Message="no")
            if path in (f"/api/models/{REPO}/revision/{ref}" for ref in ("main", commit)):
                files = [{"rfilename": name} for name in names]
                body = {"id": REPO, "sha": commit, "siblings": files, "private": False, "tags": [], "downloads": 0}
                return self.answer(json.dumps(body).encode(), send, Content_Type="application/json")
            if path.startswith(f"/api/models/{REPO}/tree/{commit}"):
                tree = [self.node(folder / name) for name in names]
                return self.answer(json.dumps(tree).encode(), send, Content_Type="application/json")
            name = path.rpartition("/")[2]
            if path == f"/{REPO}/resolve/{commit}/{name}" and name in names:
                return self.file(folder / name, send, wanted)
            revision = "/revision/" in path and path.startswith(f"/api/models/{REPO}/")
            missing = "RevisionNotFound" if revision else "RepoNotFound"
            return self.answer(b'{"error": "not found"}', send, 404, X_Error_Code=missing)

        def file(self, path: Path, send: bool, wanted: str | None) -> None:
            raw = path.read_bytes()
            first = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
            body, weights = raw[first:], path.suffix == ".safetensors"
            self.send_response(206 if wanted else 200)
            self.send_header("ETag", f'"{hashlib.sha256(raw).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Accept-Ranges", "bytes")
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{len(raw) - 1}/{len(raw)}")
            self.send_header("Content-Length", str(len(body) - (short if weights and send else 0)))
            self.end_headers()
            if not send:
                return
            if weights and cuts:
                self.wfile.write(body[: cuts.pop()])
                self.close_connection = True
                self.connection.close()
            else:
                self.wfile.write(body[: len(body) - short] if weights else body)

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

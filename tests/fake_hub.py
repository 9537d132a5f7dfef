"""A hub on the loopback: as much of its protocol as huggingface_hub uses to list, download and publish."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"


@dataclass
class FakeRepo:
    """A repository; large files are those whose digest is a SHA-256."""

    branches: dict[str, dict[str, bytes]]
    refuse: str = ""  # an error code of the hub
    private: bool = False
    discussions: list[dict[str, Any]] = field(default_factory=list)

    def commit(self, revision: str) -> str | None:
        """The commit of a branch, or the commit itself."""
        for name, files in self.branches.items():
            listing = sorted((path, hashlib.sha1(content).hexdigest()) for path, content in files.items())
            digest = hashlib.sha1(repr(listing).encode()).hexdigest()
            if revision in (name, digest):
                return digest
        return None

    def files(self, revision: str) -> dict[str, bytes]:
        return next(files for name, files in self.branches.items() if revision in (name, self.commit(name)))


@dataclass
class FakeHub:
    """What the server has, what it was asked, and how it is to fail."""

    url: str = ""
    repos: dict[str, FakeRepo] = field(default_factory=dict)  # datasets as "datasets/NAME"
    web: dict[str, bytes] = field(default_factory=dict)  # plain files by path
    asked: list[str] = field(default_factory=list)
    cuts: dict[str, int] = field(default_factory=dict)  # how often still to cut the answer that ends so, half-way
    spoil: str = ""  # the file whose bytes are changed on the way
    fail_commit: bool = False
    uploads: dict[str, bytes] = field(default_factory=dict)
    version: str = '"one"'

    def downloads(self) -> list[str]:
        """The files that were asked for, with the ranges."""
        return [line.removeprefix("GET ") for line in self.asked if line.startswith("GET ") and "/api/" not in line]


def entry(path: str, content: bytes) -> dict[str, Any]:
    """A file in a listing."""
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid}
    if path.endswith((".safetensors", ".parquet", ".onnx")):
        digest = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 100}
    return found


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub while the block runs."""
    hub = FakeHub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._note()
        self._answer_get(True)

    def do_HEAD(self) -> None:
        self._note()
        self._answer_get(False)

    def do_PUT(self) -> None:
        self._note()
        self.hub.uploads[self.path.rpartition("/")[2]] = self._body()
        self._send(200, b"")

    def do_POST(self) -> None:
        self._note()
        body, path = self._body(), unquote(urlsplit(self.path).path)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "")
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            if name in self.hub.repos:
                return self._json({"error": "exists", "url": f"{self.hub.url}/{name}"}, 409)
            self.hub.repos[name] = FakeRepo({"main": {}}, private=asked.get("visibility") == "private")
            return self._json({"url": f"{self.hub.url}/{name}", "name": name})
        if match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            modes = [
                {"path": one["path"], "uploadMode": "lfs" if "lfs" in entry(one["path"], b"") else "regular",
                 "shouldIgnore": False, "oid": None}
                for one in json.loads(body)["files"]
            ]  # fmt: skip
            return self._json({"files": modes})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.hub.url}/upload/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            return self._commit(match[1], body)
        return self._refuse(404, "")

    def _commit(self, name: str, body: bytes) -> None:
        if self.hub.fail_commit:
            return self._refuse(403, "")
        repo = self.hub.repos[name]
        files = dict(repo.branches["main"])
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.uploads[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        repo.branches["main"] = files
        commit = repo.commit("main")
        return self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def _answer_get(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        if path in self.hub.web:
            return self._file(self.hub.web[path], {"ETag": self.hub.version}, with_body)
        match = re.fullmatch(r"/api/(models|datasets)/(.+?)(?:/(revision|tree|discussions)(?:/(.+))?)?", path)
        if match:
            prefix, name, what, revision = match.groups()
            return self._api(("datasets/" if prefix == "datasets" else "") + name, what, revision or "main")
        if match := re.fullmatch(r"/(.+?)/resolve/(refs/pr/\d+|refs/convert/parquet|[^/]+)/(.+)", path):
            return self._resolve(*match.groups(), with_body)
        return self._refuse(404, "RepoNotFound")

    def _api(self, name: str, what: str | None, revision: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return None
        if what == "discussions":
            return self._json({"discussions": repo.discussions, "count": len(repo.discussions), "start": 0})
        commit = repo.commit(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        files = repo.files(revision)
        if what == "tree":
            return self._json([entry(path, content) for path, content in files.items()])
        siblings = [{"rfilename": path} for path in files]
        return self._json({"id": name, "sha": commit, "private": repo.private, "siblings": siblings, "tags": []})

    def _resolve(self, name: str, revision: str, path: str, with_body: bool) -> None:
        repo = self._repo(name)
        if repo is None:
            return None
        commit = repo.commit(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        if path not in repo.files(revision):
            return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        content = repo.files(revision)[path]
        found = entry(path, content)
        etag = found["lfs"]["oid"] if "lfs" in found else found["oid"]
        if self.hub.spoil and path.endswith(self.hub.spoil):
            content = bytes([content[0] ^ 1]) + content[1:]
        return self._file(content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, with_body)

    def _repo(self, name: str) -> FakeRepo | None:
        repo = self.hub.repos.get(name)
        token = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo is None or (repo.private and not token):
            self._refuse(401, "RepoNotFound")
            return None
        if repo.refuse:
            self._refuse(403, repo.refuse)
            return None
        return repo

    def _file(self, content: bytes, headers: dict[str, str], with_body: bool) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]
        start = int(asked[1]) if asked and same else 0
        if start and start >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        self.send_response(206 if start else 200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body:
            return None
        cut = next((end for end, times in self.hub.cuts.items() if times and self.path.endswith(end)), None)
        if cut is None:
            self.wfile.write(body)
            return None
        self.hub.cuts[cut] -= 1
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self.close_connection = True
        return None

    def _note(self) -> None:
        asked = self.headers.get("Range")
        self.hub.asked.append(f"{self.command} {self.path}{f' {asked}' if asked else ''}")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code or "no", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

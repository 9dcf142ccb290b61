"""A hub on this machine: what huggingface_hub asks of one to create, fill and read a repository.

Endpoints and headers are those that the client calls; large files come over LFS, a commit is a
list of JSON lines. Nothing is on disk: a branch is a commit, a commit is a mapping of paths.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_right"
"""Of the user "ann", who may write to "ann/..."."""

Files = dict[str, bytes]


class FakeHub:
    """Repositories and what was asked of them; serves while ``running``."""

    def __init__(self) -> None:
        self.url = ""
        self.large_from = 10_000
        self.commits: dict[str, Files] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        self.large: Files = {}
        self.asked: list[str] = []

    @contextmanager
    def running(self) -> Iterator[FakeHub]:
        """Serve on a free port of 127.0.0.1."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: _Handler(self, *given))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def commit_of(self, repository: str, revision: str) -> str | None:
        """The commit that a branch or commit names."""
        branches = self.branches[repository]
        return branches.get(revision, revision if revision in self.commits else None)

    def files(self, repository: str, revision: str = "main") -> Files:
        """What a branch or commit holds."""
        return self.commits[self.branches[repository].get(revision, revision)]

    def commit(self, repository: str, branch: str, lines: list[dict[str, Any]]) -> str:
        """Apply the lines of a commit to a branch."""
        files = dict(self.files(repository, branch))
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            else:
                assert line["key"] == "deletedFile", line
                del files[value["path"]]
        return self.keep(repository, branch, files)

    def keep(self, repository: str, branch: str, files: Files) -> str:
        """A new commit of these files, to which the branch points."""
        name = hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = files
        self.branches.setdefault(repository, {})[branch] = name
        return name


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: FakeHub, *given: Any) -> None:
        self.hub = hub
        super().__init__(*given)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        for method, pattern, reply in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == self.command.replace("HEAD", "GET"):
                reply(self, *found.groups())
                return
        self.refuse(404, "NoSuchEndpoint", f"the fake hub has no {self.command} {path}")

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def tell(self, content: Any, status: int = 200) -> None:
        self.send(json.dumps(content).encode(), status, Content_Type="application/json")

    def refuse(self, status: int, code: str, message: str) -> None:
        content = json.dumps({"error": message}).encode()
        self.send(content, status, X_Error_Code=code, X_Error_Message=message)

    def token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def may_write(self, repository: str) -> bool:
        if self.token() != TOKEN:
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif not repository.startswith("ann/"):
            self.refuse(403, "", f"You don't have the rights to create a model under {repository}")
        elif repository not in self.hub.branches:
            self.refuse(404, "RepoNotFound", "Repository not found")
        else:
            return True
        return False

    def commit_to_read(self, repository: str, revision: str) -> str | None:
        if self.token() not in (None, TOKEN):
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif repository not in self.hub.branches or (
            self.hub.private.get(repository) and self.token() != TOKEN
        ):
            self.refuse(404 if self.token() else 401, "RepoNotFound", "Repository not found")
        elif self.hub.commit_of(repository, revision) is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return self.hub.commit_of(repository, revision)
        return None

    def validate(self) -> None:
        _, head, _ = json.loads(self.body)["content"].split("---\n", 2)
        named = yaml.safe_load(head).get("library_name")
        errors = [] if named == "polyseme" else [{"message": "library_name is missing"}]
        self.tell({"errors": errors, "warnings": []}, 400 if errors else 200)

    def create(self) -> None:
        asked = json.loads(self.body)
        repository = f"{asked.get('organization') or 'ann'}/{asked['name']}"
        there = repository in self.hub.branches
        if not there and self.token() == TOKEN and repository.startswith("ann/"):
            self.hub.keep(repository, "main", {".gitattributes": b""})
            self.hub.private[repository] = asked.get("visibility") == "private"
        if self.may_write(repository):
            self.tell({"url": f"{self.hub.url}/{repository}"}, 409 if there else 200)

    def branch(self, repository: str, name: str) -> None:
        if self.may_write(repository):
            there = name in self.hub.branches[repository]
            if not there:
                self.hub.branches[repository][name] = self.hub.branches[repository]["main"]
            self.tell({}, 409 if there else 201)

    def preupload(self, repository: str, _revision: str) -> None:
        if self.may_write(repository):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= self.hub.large_from else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body)["files"]
            ]
            self.tell({"files": files})

    def batch(self, repository: str) -> None:
        if self.may_write(repository):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.hub.url}/large/{one['oid']}"}}}
                for one in json.loads(self.body)["objects"]
            ]
            self.tell({"transfer": "basic", "objects": objects})

    def put_large(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.large[oid] = self.body
        self.send(b"")

    def get_large(self, oid: str) -> None:
        self.send(self.hub.large[oid])

    def commit(self, repository: str, branch: str) -> None:
        if self.may_write(repository):
            lines = [json.loads(line) for line in self.body.splitlines()]
            name = self.hub.commit(repository, branch, lines)
            url = f"{self.hub.url}/{repository}/commit/{name}"
            self.tell({"success": True, "commitOid": name, "commitUrl": url, "hookOutput": ""})

    def info(self, repository: str, revision: str | None = None) -> None:
        commit = self.commit_to_read(repository, revision or "main")
        if commit:
            siblings = [{"rfilename": path} for path in self.hub.commits[commit]]
            self.tell({"id": repository, "sha": commit, "siblings": siblings})

    def tree(self, repository: str, revision: str) -> None:
        commit = self.commit_to_read(repository, revision)
        if commit:
            rows = [
                {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
                for path, content in self.hub.commits[commit].items()
            ]
            self.tell(rows)

    def resolve(self, repository: str, revision: str, path: str) -> None:
        commit = self.commit_to_read(repository, revision)
        if not commit:
            return
        content = self.hub.commits[commit].get(path)
        if content is None:
            self.refuse(404, "EntryNotFound", "Entry not found")
        elif content in self.hub.large.values():
            oid, size = hashlib.sha256(content).hexdigest(), str(len(content))
            linked = {"X_Linked_Etag": f'"{oid}"', "X_Linked_Size": size, "X_Repo_Commit": commit}
            # The client looks no further for headers where the redirection leaves the host.
            elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
            self.send(b"", 302, Location=f"{elsewhere}/large/{oid}", **linked)
        else:
            self.send(content, ETag=f'"{_oid(content)}"', X_Repo_Commit=commit)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


_REPOSITORY = r"([\w.-]+/[\w.-]+)"
_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", f"/api/models/{_REPOSITORY}/branch/(.+)", _Handler.branch),
    ("POST", f"/api/models/{_REPOSITORY}/preupload/(.+)", _Handler.preupload),
    ("POST", f"/api/models/{_REPOSITORY}/commit/(.+)", _Handler.commit),
    ("POST", rf"/{_REPOSITORY}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/large/([0-9a-f]{64})", _Handler.put_large),
    ("GET", "/large/([0-9a-f]{64})", _Handler.get_large),
    ("GET", f"/api/models/{_REPOSITORY}", _Handler.info),
    ("GET", f"/api/models/{_REPOSITORY}/revision/(.+)", _Handler.info),
    ("GET", f"/api/models/{_REPOSITORY}/tree/(.+)", _Handler.tree),
    ("GET", f"/{_REPOSITORY}/resolve/([^/]+)/(.+)", _Handler.resolve),
]

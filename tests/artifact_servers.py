"""Two artifact managers on this machine: a small imitation, and the real one (hypha)."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

REPOSITORY = Path(__file__).parent.parent
HYPHA = Path(os.environ.get("BMZ_DDPM_HYPHA", REPOSITORY / ".venv-hypha"))
COLLECTION = "bioimage-io/bioimage.io"
METHODS = "/public/services/artifact-manager/"
#: How the imitation misbehaves: what happens instead of the answer.
Fault = Callable[["Handler"], None]


class FakeZoo(ThreadingHTTPServer):
    """An artifact manager with the answers of hypha 0.21.137, as far as an upload sees them.

    Attributes
    ----------
    users : dict
        Token to user.
    drafts : dict
        Id to record, as hypha keeps it: what `list` shows is the manifest of the creation.
    files : dict
        (draft, name) to stored bytes.
    faults : dict
        Method ("PUT" and "GET" for the storage) to what happens next, in order.
    seen : list
        (method, whether a token was in the headers) of every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.users = {"token-of-ada": "ada", "token-of-bob": "bob"}
        self.drafts: dict[str, dict[str, Any]] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.seen: list[tuple[str, bool]] = []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client is killed."""

    def status(self, draft: str) -> str:
        return str(self.drafts[draft]["staged"]["status"])


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms
    server: FakeZoo

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        body = self.body()
        method = self.path.removeprefix(METHODS)
        if self.misbehaves(method):
            return
        header = self.headers.get("Authorization")
        user = self.server.users.get((header or "").removeprefix("Bearer "))
        if header and not user:
            self.answer(401, {"detail": "Error decoding token headers."})
        elif not self.path.startswith(METHODS) or not hasattr(self, f"method_{method}"):
            self.answer(404, {"success": False, "detail": f"{method} not found."})
        else:
            getattr(self, f"method_{method}")(user, json.loads(body))

    def do_PUT(self) -> None:
        if not self.misbehaves("PUT"):
            self.server.files[self.stored_as()] = self.body()
            self.answer(200, None)

    def do_GET(self) -> None:
        if not self.misbehaves("GET"):
            data = self.server.files.get(self.stored_as())
            self.answer_bytes(404 if data is None else 200, data or b"")

    def misbehaves(self, method: str) -> bool:
        self.server.seen.append((method, "Authorization" in self.headers))
        waiting = self.server.faults.get(method)
        if waiting:
            waiting.pop(0)(self)
        return self.answered

    answered = False

    def handle_one_request(self) -> None:
        self.answered = False
        super().handle_one_request()

    def body(self) -> bytes:
        length = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionError("the client went away")
        return data

    def answer(self, code: int, content: Any) -> None:
        self.answer_bytes(code, json.dumps(content).encode())

    def answer_bytes(self, code: int, data: bytes, **headers: str) -> None:
        self.answered = True
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, code: int, detail: str) -> None:
        self.answer(code, {"success": False, "detail": f"RemoteException: {detail}"})

    def stored_as(self) -> tuple[str, str]:
        _, workspace, alias, name = unquote(urlsplit(self.path).path[1:]).split("/", 3)
        return f"{workspace}/{alias}", name

    def drop(self) -> None:
        """Break the connection off in the middle of the request."""
        if self.command == "PUT":
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
        self.answered = self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def fail(self, code: int, detail: str) -> None:
        """Answer with an error."""
        if self.command == "PUT":
            self.body()
        self.answer(code, {"success": False, "detail": detail})

    def store_wrongly(self) -> None:
        """Take the file and keep something else."""
        self.server.files[self.stored_as()] = b"--boundary\r\n" + self.body()
        self.answer(200, None)

    # --- the methods -----------------------------------------------------------------------------

    def draft(self, user: str | None, arguments: dict[str, Any], change: bool) -> Any:
        name = arguments["artifact_id"]
        found = self.server.drafts.get(name)
        if found is None:
            self.refuse(404, f"KeyError: \"Artifact with ID '{name}' does not exist.\"")
        elif change and found["created_by"] != user:
            self.refuse(403, "PermissionError: User does not have permission on the artifact.")
            return None
        return found

    def show(self, found: dict[str, Any], manifest: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in found.items() if k != "staged"} | {"manifest": manifest}

    def method_create(self, user: str | None, arguments: dict[str, Any]) -> None:
        if user is None:
            self.refuse(403, "PermissionError: User does not have permission to create a draft")
            return
        assert arguments["alias"] == "{animal_adjective}-{animal}"
        assert arguments["stage"] is True
        name = f"bioimage-io/affable-shark-{len(self.server.drafts)}"
        self.server.drafts[name] = {
            "id": name,
            "manifest": arguments["manifest"],
            "staged": arguments["manifest"],
            "staging": [{"_intent": "new_version"}],
            "created_by": user,
            "created_at": int(time.time()),
            "versions": [],
        }
        self.answer(200, self.server.drafts[name])

    def method_list(self, user: str | None, arguments: dict[str, Any]) -> None:
        assert arguments["parent_id"] == COLLECTION
        found = [
            self.show(d, d["manifest"])
            for d in self.server.drafts.values()
            if d["staging"] and all(k in json.dumps(d["manifest"]) for k in arguments["keywords"])
        ]
        self.answer(200, found)

    def method_read(self, user: str | None, arguments: dict[str, Any]) -> None:
        found = self.draft(user, arguments, change=False)
        if found:
            self.answer(200, self.show(found, found["staged"]))

    def method_edit(self, user: str | None, arguments: dict[str, Any]) -> None:
        assert arguments["stage"] is True, "this would publish it"
        found = self.draft(user, arguments, change=True)
        if found:
            found["staged"] = arguments.get("manifest") or found["staged"]
            self.answer(200, self.show(found, found["staged"]))

    def method_put_file(self, user: str | None, arguments: dict[str, Any]) -> None:
        found = self.draft(user, arguments, change=True)
        if found:
            path, weight = arguments["file_path"], arguments["download_weight"]
            if path not in [e.get("path") for e in found["staging"]]:
                found["staging"].insert(0, {"path": path, "download_weight": weight})
            self.answer(200, self.signed(arguments))

    def method_get_file(self, user: str | None, arguments: dict[str, Any]) -> None:
        found = self.draft(user, arguments, change=False)
        if found and (found["id"], arguments["file_path"]) in self.server.files:
            self.answer(200, self.signed(arguments))
        elif found:
            detail = f"File '{arguments['file_path']}' does not exist in the artifact."
            self.refuse(404, f"FileNotFoundError: {detail}")

    def signed(self, arguments: dict[str, Any]) -> str:
        path = quote(f"{arguments['artifact_id']}/{arguments['file_path']}")
        return f"{self.server.address}/storage/{path}?Signature=xyz"


@contextlib.contextmanager
def fake_zoo() -> Iterator[FakeZoo]:
    """Run the imitation."""
    server = FakeZoo()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


# --- interrupting a run --------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a run as a kill would: nobody catches it."""


def interrupt(step: int, when: str, act: Callable[[], None], steps: list[str]) -> None:
    """Let the client do `act` "before", "after" or in the "middle" of the step of this number.

    Steps are counted from 0 and their names put into `steps`. Only a file's way to the storage
    has a middle: half of its bytes have left.
    """
    import httpx

    from bmz_ddpm.upload import send
    from bmz_ddpm.upload.client import ArtifactManager

    def wrapped(function: Callable[..., Any], label: Callable[..., str]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            number = len(steps)
            steps.append(label(*arguments))
            if number == step and when == "before":
                act()
            if number == step and when == "middle":
                half(arguments[1], arguments[2], act)
            result = function(*arguments, **named)
            if number == step and when == "after":
                act()
            return result

        return counted

    def half(address: str, data: bytes, act: Callable[[], None]) -> None:
        def pieces() -> Iterator[bytes]:
            yield data[: len(data) // 2]
            time.sleep(0.2)
            act()

        httpx.put(address, content=pieces(), headers={"Content-Length": str(len(data))})

    for owner, name, label in (
        (ArtifactManager, "call", lambda *a: a[1]),
        (ArtifactManager, "store", lambda *_: "PUT"),
        (ArtifactManager, "stored_sha256", lambda *_: "GET"),
        (send, "save_state", lambda *_: "save"),
    ):
        setattr(owner, name, wrapped(getattr(owner, name), label))


def upload_in_a_process(
    package: Path, server: str, token: str, step: int = -1, when: str = "before"
) -> subprocess.CompletedProcess[str]:
    """Run `bmz-ddpm upload --send` in a process that kills itself (SIGKILL) at a step."""
    code = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from artifact_servers import interrupt\n"
        "from bmz_ddpm.cli.main import main\n"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"interrupt({step}, {when!r}, kill, [])\n"
        f"sys.argv = ['bmz-ddpm', 'upload', {str(package)!r}, '--send', '--server', {server!r}]\n"
        "main()"
    )
    environment = os.environ | {"BIOIMAGEIO_TOKEN": token, "NO_PROXY": "127.0.0.1", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


# --- the real one --------------------------------------------------------------------------------


class Hypha:
    """A running hypha with the zoo's collection, and two users who may upload."""

    def __init__(self, address: str, root: str, tokens: dict[str, str]) -> None:
        self.address = address
        self.root = root
        self.tokens = tokens

    def call(self, service: str, method: str, token: str = "", **arguments: Any) -> Any:
        """Call a method as root, or with `token`; raises urllib's HTTPError."""
        request = urllib.request.Request(
            f"{self.address}/public/services/{service}/{method}",
            json.dumps(arguments).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.root}"},
        )
        with direct().open(request, timeout=60) as answer:
            return json.load(answer)

    def artifact(self, method: str, token: str = "", **arguments: Any) -> Any:
        return self.call("artifact-manager", method, token, **arguments)

    def permit(self, everybody: str) -> None:
        """Set what logged-in users may do in the collection."""
        permissions = {"*": "r", "@": everybody}
        words = {"animal_adjective": list(ADJECTIVES), "animal": list(ANIMALS)}
        config = {"permissions": permissions, "id_parts": words}
        self.artifact("edit", artifact_id=COLLECTION, config=config)

    def drafts(self, key: str) -> list[dict[str, Any]]:
        """All artifacts with this key, staged or not, as they are staged."""
        listed = self.artifact(
            "list", parent_id=COLLECTION, keywords=[key], stage="all", limit=1000
        )
        return [self.artifact("read", artifact_id=d["id"], stage=True) for d in listed]

    def fetch(self, draft: str, names: list[str]) -> dict[str, bytes]:
        """Return what is stored."""
        addresses = self.artifact("get_file", artifact_id=draft, file_path=names, stage=True)
        stored = {}
        for name, address in addresses.items():
            with direct().open(address, timeout=60) as answer:
                stored[name] = answer.read()
        return stored


ADJECTIVES = ("affable", "calm", "daring", "eager", "fancy", "gentle", "happy", "jolly", "kind")
ANIMALS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay", "koi", "lynx")


def direct() -> urllib.request.OpenerDirector:
    """Never through a proxy."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def why_no_hypha() -> str | None:
    """Return the reason why the real server cannot be started, None if it can."""
    if (HYPHA / "bin" / "moto_server").exists():
        return None
    return (
        f"no artifact manager in {HYPHA}: run `make hypha`, or set BMZ_DDPM_HYPHA to an "
        "environment with packaging/environments/hypha.txt"
    )


@contextlib.contextmanager
def real_hypha(folder: Path) -> Iterator[Hypha]:
    """Run moto (as S3) and hypha on free ports of 127.0.0.1; logs go to `folder`."""
    secret, root = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "HYPHA_JWT_SECRET": secret,
        "NO_PROXY": "127.0.0.1",
    }
    storage, port = free_ports(2)
    s3 = f"http://127.0.0.1:{storage}"
    hypha = ["-m", "hypha.server", "--host=127.0.0.1", f"--port={port}", "--enable-s3"]
    hypha += ["--s3-admin-type=generic", f"--endpoint-url={s3}", f"--endpoint-url-public={s3}"]
    hypha += ["--access-key-id=x", "--secret-access-key=y", "--region-name=us-east-1"]
    hypha += ["--workspace-bucket=hypha-workspaces", f"--root-token={root}"]
    hypha += [f"--database-uri=sqlite+aiosqlite:///{folder / 'hypha.sqlite'}"]
    address = f"http://127.0.0.1:{port}"
    python = str(HYPHA / "bin" / "python")
    with contextlib.ExitStack() as stack:
        moto = [str(HYPHA / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(storage)]
        stack.enter_context(process(moto, folder, "moto", environment, f"{s3}/moto-api/"))
        ready = f"{address}/health/readiness"
        stack.enter_context(process([python, *hypha], folder, "hypha", environment, ready))
        server = Hypha(address, root, mint_tokens(python, environment))
        about = {"id": "bioimage-io", "name": "bioimage-io", "description": "zoo"}
        server.call("ws", "create_workspace", config={**about, "persistent": True})
        manifest = {"name": "BioImage Model Zoo", "description": "its collection"}
        server.artifact("create", artifact_id=COLLECTION, type="collection", manifest=manifest)
        server.permit("r+")
        yield server


@contextlib.contextmanager
def process(
    command: list[str], folder: Path, name: str, environment: dict[str, str], ready: str
) -> Iterator[None]:
    """Run a server until the end of the context; wait until it answers under `ready`."""
    log = folder / f"{name}.log"
    with log.open("w") as stream:
        running = subprocess.Popen(
            command,
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=folder,
            start_new_session=True,  # a process group of its own, to end all of it
        )
    try:
        end = time.monotonic() + 120
        while not answers(ready):
            if running.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.25)
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(10)


def answers(address: str) -> bool:
    try:
        with direct().open(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def mint_tokens(python: str, environment: dict[str, str]) -> dict[str, str]:
    """Sign login tokens of two ordinary users with the server's own secret."""
    code = (
        "import asyncio, json\n"
        "from hypha.core import UserInfo\n"
        "from hypha.core.auth import create_scope, generate_auth_token\n"
        "def user(name):\n"
        "    scope = create_scope(f'ws-user-{name}#a')\n"
        "    email = f'{name}@example.org'\n"
        "    return UserInfo(id=name, roles=[], is_anonymous=False, email=email, scope=scope)\n"
        "tokens = {n: asyncio.run(generate_auth_token(user(n), 36000)) for n in ('ada', 'bob')}\n"
        "print(json.dumps(tokens))"
    )
    done = subprocess.run(
        [python, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    tokens: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return tokens

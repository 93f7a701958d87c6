"""Talk to an artifact manager (hypha) over plain HTTP.

The token goes to that server only: never along a redirect, never to the signed addresses under
which files are stored, and into no message.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..errors import UploadError

#: The zoo's server.
ZOO = "https://hypha.aicell.io"
SERVICE = "/public/services/artifact-manager/"
AGAIN = "repeat the command later: it goes on where it stopped"
SECONDS = 60.0


class RefusedError(UploadError):
    """The server knows the account, but does not let it do that."""


class ArtifactManager:
    """One artifact manager, as one user.

    Parameters
    ----------
    server : str
        Address, such as https://hypha.aicell.io.
    token : str
        Login token of the user.
    seconds : float
        How long to wait for an answer.

    Raises
    ------
    UploadError
        If the address or the token cannot be used.
    """

    def __init__(self, server: str, token: str, seconds: float = SECONDS) -> None:
        self.server = server_address(server)
        self._token = usable_token(token)
        self._seconds = seconds
        self._api = httpx.Client(timeout=seconds, headers={"Authorization": f"Bearer {token}"})
        self._storage = httpx.Client(timeout=seconds)  # signed addresses need no token

    def __enter__(self) -> ArtifactManager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._api.close()
        self._storage.close()

    def call(self, method: str, job: str, **arguments: Any) -> Any:
        """Call a method of the artifact manager.

        Parameters
        ----------
        method : str
        job : str
            What it is for: completes "while it was asked to …".
        **arguments
            Anything that JSON can carry.

        Returns
        -------
        Any
            The answer; None if there is no such draft or file.

        Raises
        ------
        UploadError
            If the server cannot be reached, refuses, fails, or answers with something else.
        """
        body = json.dumps(arguments).encode()
        try:
            answer = self._api.post(
                self.server + SERVICE + method,
                content=body,
                headers={"Content-Type": "application/json"},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._no_answer(error, f"it was asked to {job}") from None
        if _is_missing(answer):
            return None
        if answer.status_code != 200:
            raise self._refusal(answer, job)
        try:
            return answer.json()
        except ValueError:
            raise UploadError(
                f"{self.server}: answered with something that is no JSON when asked to {job}",
                "is --server the address of an artifact manager (hypha)?",
            ) from None

    def store(self, address: str, data: bytes, name: str) -> None:
        """Send a file's bytes, as they are, to the signed address that `put_file` returned.

        Raises
        ------
        UploadError
            If the connection breaks off or the storage refuses.
        """
        try:
            answer = self._storage.put(_signed(address, self.server), content=data)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._no_answer(error, f"{name} was sent") from None
        if not answer.is_success:
            raise UploadError(
                f"{name}: was refused by the storage of {self.server} (HTTP {answer.status_code})",
                AGAIN,
            )

    def stored_sha256(self, address: str, name: str) -> str | None:
        """Fetch a file from the signed address that `get_file` returned.

        Returns
        -------
        str or None
            SHA-256 of what is stored; None if nothing is.

        Raises
        ------
        UploadError
            If the connection breaks off or the storage refuses.
        """
        digest = hashlib.sha256()
        try:
            with self._storage.stream("GET", _signed(address, self.server)) as answer:
                if answer.status_code == 404:
                    return None
                if not answer.is_success:
                    raise UploadError(
                        f"{name}: cannot be fetched back from the storage of {self.server} "
                        f"(HTTP {answer.status_code})",
                        AGAIN,
                    )
                for piece in answer.iter_bytes():
                    digest.update(piece)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._no_answer(error, f"{name} was fetched back") from None
        return digest.hexdigest()

    def _no_answer(self, error: Exception, job: str) -> UploadError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            reason = self._clean(str(error)) or type(error).__name__
            return UploadError(
                f"{self.server}: cannot be reached ({reason}) when {job}",
                "check the network and --server, then repeat the command",
            )
        if isinstance(error, httpx.TimeoutException):
            problem = f"did not answer within {self._seconds:g} s"
        else:
            problem = "broke the connection off"
        return UploadError(f"{self.server}: {problem} while {job}", AGAIN)

    def _refusal(self, answer: httpx.Response, job: str) -> UploadError:
        code = answer.status_code
        why = f"HTTP {code}{self._detail(answer)}"
        if code == 401:
            return UploadError(
                f"token: is not accepted by {self.server} ({why}), it has to be valid there",
                "log in again for a new token: it may be cut off or have expired",
            )
        if code == 403:
            return RefusedError(
                f"{self.server}: does not allow this account to {job} ({why})",
                "use the token of an account that may upload, or ask the zoo's team",
            )
        if answer.is_redirect:
            return UploadError(
                f"{self.server}: redirects ({why}), the token is not sent elsewhere",
                "give --server the address at which it ends up, if you trust it",
            )
        if code >= 500 or code == 429:  # 429: too many requests
            return UploadError(f"{self.server}: failed to {job} ({why})", AGAIN)
        return UploadError(
            f"{self.server}: refuses to {job} ({why})",
            "if --server is right, its rules have changed: upload on the web page, and tell us",
        )

    def _detail(self, answer: httpx.Response) -> str:
        try:
            detail = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            return ""
        return f", {self._clean(str(detail))}"

    def _clean(self, text: str) -> str:
        """One short line without the token, whatever a server wrote into it."""
        return " ".join(text.replace(self._token, "(token)").split())[:300].rstrip(".")


def _is_missing(answer: httpx.Response) -> bool:
    if answer.status_code < 400:
        return False
    text = answer.text
    artifact = answer.status_code == 404 and "Artifact with ID" in text
    return artifact or "FileNotFoundError" in text


def _signed(address: Any, server: str) -> str:
    if isinstance(address, str) and urlsplit(address).scheme in ("http", "https"):
        return address
    raise UploadError(
        f"{server}: gave no web address for a file",
        "is --server the address of an artifact manager (hypha)?",
    )


def server_address(text: str) -> str:
    """Return the address without a slash at the end.

    Raises
    ------
    UploadError
        If it is none, or would carry the token unencrypted through a network.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise UploadError("--server: is no web address", f"write it like {ZOO}")
    if parts.query or parts.fragment:
        raise UploadError("--server: has a ? or #, only an address is allowed", f"write {ZOO}")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise UploadError(
            f"--server {text}: is unencrypted, everybody on the way could read the token",
            "write https://",
        )
    return text.rstrip("/")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def usable_token(token: str) -> str:
    """Return the token if it can travel in a header.

    Raises
    ------
    UploadError
        If it is empty or holds spaces or other characters that no token has.
    """
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UploadError(
            "token: is empty or holds spaces, line breaks or special characters, no token does",
            "copy it again, all of it and nothing else",
        )
    return token

"""Uploads to an imitation of the zoo's server, and to the real one (hypha) on this machine."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from artifact_servers import (
    COLLECTION,
    FakeZoo,
    Handler,
    Hypha,
    Killed,
    direct,
    fake_zoo,
    interrupt,
    real_hypha,
    upload_in_a_process,
    why_no_hypha,
)
from test_check import Draft, png

from bmz_ddpm.errors import DataError, UploadError, UserError
from bmz_ddpm.upload import send as sending
from bmz_ddpm.upload.client import ZOO, ArtifactManager, server_address
from bmz_ddpm.upload.plan import Plan, json_ready, make_plan, without_id
from bmz_ddpm.upload.send import page, send
from bmz_ddpm.upload.state import state_path

TOKEN = "token-of-ada"
FILES = 6
NOWHERE = "http://127.0.0.1:9"  # the port "discard": nobody listens


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(sending, "PAUSES", (0.0,))


@pytest.fixture
def zoo() -> Iterator[FakeZoo]:
    with fake_zoo() as server:
        yield server


@pytest.fixture
def good() -> Draft:
    """A package that the zoo would take, small and without TorchScript."""
    draft = Draft(b"", 1)
    del draft.files["weights.pt"], draft.rdf["weights"]["torchscript"]
    for name in ("std.npy", "std.tif", "raw.tif", "denoised.tif"):  # few are enough here
        del draft.files[name]
    for tensor in (*draft.rdf["inputs"], *draft.rdf["outputs"]):
        del tensor["sample_tensor"]
    draft.rdf["maintainers"] = [{"name": "A. Body", "github_user": "abody"}]
    draft.rdf["version"] = "0.1.0"
    return draft


@pytest.fixture
def package(good: Draft, tmp_path: Path) -> Path:
    return good.write(tmp_path / "model.zip")


def upload(package: Path, zoo: FakeZoo, token: str = TOKEN, seconds: float = 10) -> str:
    with ArtifactManager(zoo.address, token, seconds) as manager:
        return send(make_plan(package), manager).draft


def command(
    *arguments: object, token: str | None = TOKEN, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "120", "NO_COLOR": "1"} | more
    environment.pop("BIOIMAGEIO_TOKEN", None)
    if token is not None:
        environment["BIOIMAGEIO_TOKEN"] = token
    return subprocess.run(
        [sys.executable, "-c", "from bmz_ddpm.cli.main import main; main()", "upload"]
        + [str(a) for a in arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def mistake(job: Callable[[], object], kind: type[UserError] = UploadError) -> str:
    """Return the one line of a user's error; it never holds the token."""
    with pytest.raises(kind) as caught:
        job()
    text = str(caught.value)
    assert "\n" not in text
    assert TOKEN not in text
    assert caught.value.fix
    assert not caught.value.problem.endswith(".")
    return caught.value.problem


def check_intact(zoo: FakeZoo, draft: str, package: Path) -> None:
    """One draft, in review, and every file as in the plan."""
    plan = make_plan(package)
    assert list(zoo.drafts) == [draft]
    assert zoo.status(draft) == "in-review"
    stored = {n: hashlib.sha256(d).hexdigest() for (_, n), d in zoo.files.items()}
    assert stored == {item.name: item.sha256 for item in plan.items}
    weights = {e["path"]: e["download_weight"] for e in zoo.drafts[draft]["staging"] if "path" in e}
    assert weights == {item.name: item.weight for item in plan.items}


# --- the plan ------------------------------------------------------------------------------------


def test_only_rdf_changes_and_only_by_its_id(good: Draft, package: Path) -> None:
    plan = make_plan(package)
    sent = {item.name: item.data for item in plan.items}
    contents = good.contents()
    assert set(sent) == set(contents)
    assert len(sent) == FILES
    assert {n for n in sent if sent[n] != contents[n]} == {"rdf.yaml"}
    assert sent["rdf.yaml"] == contents["rdf.yaml"].replace(b"id: good-model\n", b"", 1)
    assert plan.old_id == "good-model"
    assert "id" not in plan.manifest
    assert [item.name for item in plan.items if item.weight] == ["weights.onnx"]
    assert plan.manifest["config"]["bmz_ddpm"] == {"upload_key": plan.key}
    assert make_plan(package).key == plan.key


def test_another_content_has_another_key(good: Draft, package: Path, tmp_path: Path) -> None:
    good.files["README.md"] += b"More.\n"
    assert make_plan(good.write(tmp_path / "b.zip")).key != make_plan(package).key


def test_rdf_without_id_is_sent_as_it_is(good: Draft, tmp_path: Path) -> None:
    del good.rdf["id"]
    plan = make_plan(good.write(tmp_path / "m.zip"))
    assert {i.name: i.data for i in plan.items}["rdf.yaml"] == good.contents()["rdf.yaml"]
    assert plan.old_id is None
    assert not plan.stops  # Fiji needs the id, the zoo does not


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# a\nid: x # b\nname: y # c\n", "# a\nname: y # c\n"),
        ("name: y\nid: x\n", "name: y\n"),
        ("name: y\r\nid: 'x'\r\nb: on\r\n", "name: y\r\nb: on\r\n"),
        ('{"id": "x", "name": "y"}', '{"name": "y"}'),
        ('{"name": "y", "id": "x"}', '{"name": "y", }'),
        ("id: >\n  long\n  text\nname: {id: inner}\n", "name: {id: inner}\n"),
        ("name: y\nid: x", "name: y\n"),
        ("id: &a x\nname: *a\n", "name: x\n"),  # cannot be cut out, so it is written anew
        ("f: .nan\nid: x\n", "f: .nan\n"),
    ],
)
def test_cutting_the_id_out(before: str, after: str) -> None:
    left = yaml.safe_load(before)
    del left["id"]
    assert without_id(before.encode(), left) == after.encode()


def test_folder_and_rdf_are_like_the_zip(good: Draft, package: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in good.contents().items():
        (folder / name).write_bytes(data)
    (folder / "private.txt").write_text("not named in rdf.yaml")
    wanted = make_plan(package)
    for path in (folder, folder / "rdf.yaml"):
        plan = make_plan(path)
        assert (plan.key, plan.items) == (wanted.key, wanted.items)
        assert state_path(plan.root) == tmp_path / "model.upload.json"


def test_zip_is_sent_whole_but_for_hidden_files(good: Draft, tmp_path: Path) -> None:
    good.files |= {
        "more.py": b"1",
        ".DS_Store": b"x",
        "__MACOSX/a": b"x",
        "d/.x": b"x",
        "../up": b"",
        "a//b": b"",
    }
    plan = make_plan(good.write(tmp_path / "m.zip"))
    assert "more.py" in [item.name for item in plan.items]
    assert plan.left_out == ["../up", ".DS_Store", "__MACOSX/a", "a//b", "d/.x"]


def test_what_json_cannot_carry(good: Draft, tmp_path: Path) -> None:
    """YAML has dates, bytes, sets, numbers as keys and NaN."""
    odd = "a: 2024-01-02\nb: !!binary AAE=\nc: !!set {y, x}\n1: .inf\nd: [.nan, -.inf]\ne: é ☃\n"
    assert json_ready(yaml.safe_load(odd)) == {
        "a": "2024-01-02",
        "b": "AAE=",
        "c": ["x", "y"],
        "1": "Infinity",
        "d": ["NaN", "-Infinity"],
        "e": "é ☃",
    }
    good.rdf["config"]["odd"] = {"when": date(2024, 1, 2), 1: math.nan, "raw": b"\0\1"}
    plan = make_plan(good.write(tmp_path / "m.zip"))
    assert json.loads(json.dumps(plan.manifest, allow_nan=False)) == plan.manifest
    for text in ("\0", "\ud800"):
        assert "no text" in mistake(lambda text=text: json_ready({"a": [text]}))
    good.rdf["config"]["odd"]["self"] = good.rdf["config"]["odd"]
    good.fill = lambda _: None  # type: ignore[method-assign]
    assert "refers to itself" in mistake(lambda: make_plan(good.write(tmp_path / "n.zip")))


def mutations() -> dict[str, tuple[Callable[[Draft], object], str]]:
    return {
        "license": (lambda d: d.rdf.pop("license"), "license: is missing"),
        "spdx": (lambda d: d.rdf.update(license="free"), "license: free, the zoo takes one"),
        "spdx case": (lambda d: d.rdf.update(license="mit"), "license: mit, the zoo takes one"),
        "no cover": (lambda d: d.rdf.pop("covers"), "covers: is missing"),
        "cover gone": (lambda d: d.files.pop("cover.png"), "cover.png, this file is not in"),
        "cover type": (lambda d: d.rdf.update(covers=["raw.npy"]), "the zoo shows .png and .jpg"),
        "cover size": (
            lambda d: d.files.update({"cover.png": png(100, 50) + bytes(500_000)}),
            "a cover has less than 500 KB",
        ),
        "document": (lambda d: d.rdf.pop("documentation"), "documentation: is missing"),
        "heading": (lambda d: d.files.update({"README.md": b"# A"}), "no heading with the word"),
        "nobody": (lambda d: d.rdf.pop("maintainers"), "nobody has a github_user"),
        "placeholder": (
            lambda d: d.rdf.update(maintainers=[{"name": "B", "github_user": "bioimageiobot"}]),
            "only the placeholder bioimageiobot",
        ),
        "hash": (
            lambda d: d.rdf["weights"]["onnx"].update(sha256="0" * 64),
            "does not match the sha256",
        ),
        "path": (lambda d: d.files.update({"a\\b": b""}), "has to be a plain path"),
        "folder": (lambda d: setattr(d, "folder", "model/"), "lies in a folder"),
        "rdf name": (lambda d: setattr(d, "rdf_name", "model.yaml"), "Fiji opens only rdf.yaml"),
        "web": (
            lambda d: d.rdf.update(documentation="https://example.org/a.md"),
            "it is on the web",
        ),
    }


@pytest.mark.parametrize("name", mutations())
def test_pre_checks(good: Draft, tmp_path: Path, zoo: FakeZoo, name: str) -> None:
    mutate, expected = mutations()[name]
    mutate(good)
    path = good.write(tmp_path / "m.zip")
    assert [f for f in make_plan(path).stops if expected in f.message], make_plan(path).stops
    mistake(lambda: upload(path, zoo))
    assert not zoo.seen


def test_sizes(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    from bmz_ddpm.upload import rules

    monkeypatch.setattr(rules, "LARGE_BYTES", 1000)
    assert "size" in [f.rule for f in make_plan(package).warnings]
    monkeypatch.setattr(rules, "MOST_FILE_BYTES", 1000)
    assert {f.rule for f in make_plan(package).stops} == {"size"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice(package: Path) -> None:
    with zipfile.ZipFile(package, "a") as archive:
        archive.writestr("README.md", "# other\n\n## Validation\n")
    assert [f.message for f in make_plan(package).stops] == [
        "README.md: is 2 times in the zip, one name is one file"
    ]


def test_no_package(tmp_path: Path) -> None:
    assert "does not exist" in mistake(lambda: make_plan(tmp_path / "no.zip"), DataError)
    (tmp_path / "no.zip").write_bytes(b"no zip")
    assert "is not a readable zip" in mistake(lambda: make_plan(tmp_path / "no.zip"), DataError)


# --- sending -------------------------------------------------------------------------------------


def test_upload(zoo: FakeZoo, package: Path) -> None:
    before = package.read_bytes()
    draft = upload(package, zoo)
    check_intact(zoo, draft, package)
    rdf = zoo.files[draft, "rdf.yaml"]
    assert b"good-model" not in rdf
    manifest = zoo.drafts[draft]["staged"]
    assert {**yaml.safe_load(rdf), "status": "in-review", "config": manifest["config"]} == manifest
    assert package.read_bytes() == before
    assert {m for m, _ in zoo.seen} == {
        "list", "create", "put_file", "PUT", "get_file", "GET", "edit", "read",
    }  # fmt: skip
    with_token = {m for m, token in zoo.seen if token}
    assert not with_token & {"PUT", "GET"}, "the token goes to the artifact manager only"
    assert all(token for m, token in zoo.seen if m not in ("PUT", "GET"))


def test_repeated_it_does_nothing(zoo: FakeZoo, package: Path) -> None:
    draft = upload(package, zoo)
    zoo.seen.clear()
    assert upload(package, zoo) == draft
    assert {m for m, _ in zoo.seen} == {"read", "get_file", "GET"}
    check_intact(zoo, draft, package)


def test_state_holds_no_secrets(zoo: FakeZoo, package: Path) -> None:
    draft = upload(package, zoo)
    kept = json.loads(state_path(package).read_text())
    plan = make_plan(package)
    assert kept == {"server": zoo.address, "key": plan.key, "asked": True, "draft": draft}


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"server": 1}'])
def test_lost_state_is_found_on_the_server(
    zoo: FakeZoo, package: Path, content: str | None
) -> None:
    draft = upload(package, zoo)
    state_path(package).unlink()
    if content is not None:
        state_path(package).write_text(content)
    assert upload(package, zoo) == draft
    check_intact(zoo, draft, package)


def test_drafts_of_others_are_left_alone(zoo: FakeZoo, package: Path) -> None:
    of_bob = upload(package, zoo, "token-of-bob")
    state_path(package).unlink()
    of_ada = upload(package, zoo)
    assert of_ada != of_bob
    assert [zoo.drafts[d]["created_by"] for d in (of_bob, of_ada)] == ["bob", "ada"]


def test_a_deleted_draft_is_made_again(zoo: FakeZoo, package: Path) -> None:
    zoo.drafts.pop(upload(package, zoo))
    zoo.files.clear()
    check_intact(zoo, upload(package, zoo), package)


def test_changed_content_is_another_draft(zoo: FakeZoo, good: Draft, tmp_path: Path) -> None:
    first = upload(good.write(tmp_path / "m.zip"), zoo)
    good.files["README.md"] += b"More.\n"
    lines: list[str] = []
    with ArtifactManager(zoo.address, TOKEN) as manager:
        second = send(make_plan(good.write(tmp_path / "m.zip")), manager, lines.append).draft
    assert first != second
    assert lines[0] == f"an earlier content of this package is {first}: it is left as it is"


@pytest.mark.parametrize("status", ["accepted", None])
def test_what_others_took_over_is_left_alone(
    zoo: FakeZoo, package: Path, status: str | None
) -> None:
    draft = upload(package, zoo)
    if status:
        zoo.drafts[draft]["staged"]["status"] = status
    else:
        zoo.drafts[draft]["staging"] = None
    zoo.files[draft, "README.md"] = b"edited"
    expected = "has status accepted" if status else "is no draft any more"
    assert expected in mistake(lambda: upload(package, zoo))
    assert zoo.files[draft, "README.md"] == b"edited"


# --- killed, and repeated ------------------------------------------------------------------------

STEPS = 4 + 4 * FILES + 2


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_step(
    zoo: FakeZoo, good: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whatever the step, the next run ends with one draft and intact files."""
    order: list[str] = []
    for step in range(STEPS):
        zoo.drafts.clear()
        zoo.files.clear()
        package = good.write(tmp_path / f"{step}.zip")
        steps: list[str] = []
        with monkeypatch.context() as patch:
            for name in ("call", "store", "stored_sha256"):
                patch.setattr(ArtifactManager, name, getattr(ArtifactManager, name))
            patch.setattr(sending, "save_state", sending.save_state)
            interrupt(step, when, kill, steps)
            with pytest.raises(Killed):
                upload(package, zoo)
        assert len(steps) == step + 1
        order.append(steps[-1])
        draft = upload(package, zoo)
        check_intact(zoo, draft, package)
        assert draft.endswith("-0"), "no other draft was ever made"
    a_file = ["put_file", "PUT", "get_file", "GET"]
    assert order == ["list", "save", "create", "save", *a_file * FILES, "edit", "read"]


def test_killed_twice(zoo: FakeZoo, package: Path) -> None:
    """In the middle of a file (SIGKILL), then before the status is set."""
    done = upload_in_a_process(package, zoo.address, TOKEN, 5, "middle")
    assert done.returncode == -9, done.stderr
    assert not zoo.files
    done = upload_in_a_process(package, zoo.address, TOKEN, 2 + 4 * FILES, "before")
    assert done.returncode == -9, done.stderr
    assert [zoo.status(d) for d in zoo.drafts] == ["draft"]
    done = upload_in_a_process(package, zoo.address, TOKEN)
    assert done.returncode == 0, done.stderr
    assert "goes on with the draft" in done.stderr
    (draft,) = zoo.drafts
    check_intact(zoo, draft, package)


def test_killed_while_the_server_makes_the_draft(
    zoo: FakeZoo, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server finishes only after the repeated command has begun to search."""
    monkeypatch.setattr(sending, "PAUSES", (1.0,))
    zoo.faults["create"] = [lambda _: time.sleep(1)]
    assert "did not answer within" in mistake(lambda: upload(package, zoo, seconds=0.6))
    check_intact(zoo, upload(package, zoo), package)


# --- what can go wrong ---------------------------------------------------------------------------

METHODS = ("list", "create", "put_file", "get_file", "edit", "read")


def test_wrong_token(zoo: FakeZoo, package: Path) -> None:
    problem = mistake(lambda: upload(package, zoo, "wrong-token"))
    assert problem.startswith(f"token: is not accepted by {zoo.address} (HTTP 401")
    assert "wrong-token" not in problem
    assert not zoo.drafts


@pytest.mark.parametrize("token", ["", "a b", "line\nbreak", "é"])
def test_no_token_at_all(token: str) -> None:
    problem = mistake(lambda: ArtifactManager(ZOO, token))
    assert problem.startswith("token: is empty or holds")
    assert not token or token not in problem.replace("or holds", "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("code", "expected"),
    [(403, "does not allow this account to"), (500, "failed to"), (400, "refuses to")],
)
def test_refusals(zoo: FakeZoo, package: Path, method: str, code: int, expected: str) -> None:
    """The server even repeats the token, which must not be shown."""
    zoo.faults[method] = [lambda h: h.fail(code, f"Error:\n  {h.headers['Authorization']}")]
    problem = mistake(lambda: upload(package, zoo))
    assert f"{zoo.address}: {expected}" in problem
    assert f"(HTTP {code}, Error: Bearer (token))" in problem
    check_intact(zoo, upload(package, zoo), package)


@pytest.mark.parametrize("method", [*METHODS, "PUT", "GET"])
def test_dropped_connection(zoo: FakeZoo, package: Path, method: str) -> None:
    zoo.faults[method] = [Handler.drop]
    problem = mistake(lambda: upload(package, zoo))
    assert problem.startswith(f"{zoo.address}: broke the connection off while ")
    check_intact(zoo, upload(package, zoo), package)


@pytest.mark.parametrize("method", ["list", "create", "put_file", "PUT", "GET", "edit"])
def test_timeout(zoo: FakeZoo, package: Path, method: str) -> None:
    zoo.faults[method] = [lambda _: time.sleep(0.7)]
    problem = mistake(lambda: upload(package, zoo, seconds=0.3))
    assert problem.startswith(f"{zoo.address}: did not answer within 0.3 s while ")
    time.sleep(0.5)
    check_intact(zoo, upload(package, zoo), package)


@pytest.mark.parametrize(("method", "code"), [("PUT", 403), ("PUT", 503), ("GET", 403)])
def test_storage_refuses(zoo: FakeZoo, package: Path, method: str, code: int) -> None:
    zoo.faults[method] = [lambda h: h.fail(code, "secret")]
    problem = mistake(lambda: upload(package, zoo))
    assert f"storage of {zoo.address} (HTTP {code})" in problem
    assert "Signature" not in problem
    check_intact(zoo, upload(package, zoo), package)


def test_corrupt_storage(zoo: FakeZoo, package: Path) -> None:
    zoo.faults["PUT"] = [Handler.store_wrongly]
    check_intact(zoo, upload(package, zoo), package)  # one retry


def test_corrupt_storage_twice(zoo: FakeZoo, package: Path) -> None:
    zoo.faults["PUT"] = [Handler.store_wrongly, Handler.store_wrongly]
    problem = mistake(lambda: upload(package, zoo))
    assert problem.startswith("README.md: was stored twice with the SHA-256 ")
    (draft,) = zoo.drafts
    assert zoo.status(draft) == "draft"
    check_intact(zoo, upload(package, zoo), package)


def test_damaged_later(zoo: FakeZoo, package: Path) -> None:
    draft = upload(package, zoo)
    zoo.files[draft, "weights.onnx"] = b"other"
    del zoo.files[draft, "raw.npy"]
    upload(package, zoo)
    check_intact(zoo, draft, package)


def test_token_follows_no_redirect(zoo: FakeZoo, package: Path) -> None:
    with fake_zoo() as other:
        location = f"{other.address}/public/services/artifact-manager/list"
        zoo.faults["list"] = [lambda h: h.answer_bytes(307, b"", Location=location)]
        problem = mistake(lambda: upload(package, zoo))
        assert f"{zoo.address}: redirects (HTTP 307)" in problem
        assert not other.seen


@pytest.mark.parametrize("answer", [b"<html>", b'{"id": 1}', b"[]", b"null"])
def test_nonsense_for_an_answer(zoo: FakeZoo, package: Path, answer: bytes) -> None:
    zoo.faults["create"] = [lambda h: h.answer_bytes(200, answer)]
    mistake(lambda: upload(package, zoo))
    zoo.faults["put_file"] = [lambda h: h.answer_bytes(200, answer)]
    mistake(lambda: upload(package, zoo))
    check_intact(zoo, upload(package, zoo), package)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("hypha.aicell.io", "is no web address"),
        ("ftp://hypha.aicell.io", "is no web address"),
        ("https://", "is no web address"),
        ("https://[", "is no web address"),
        ("https://ada:secret@example.org", "is no web address"),
        ("https://example.org?a=b", "only an address is allowed"),
        ("http://example.org", "everybody on the way could read the token"),
    ],
)
def test_servers_that_are_refused(server: str, expected: str) -> None:
    problem = mistake(lambda: server_address(server))
    assert expected in problem
    assert "secret" not in problem


def test_pages() -> None:
    assert server_address(f"{ZOO}/") == ZOO
    assert server_address("http://localhost:9000") == "http://localhost:9000"
    draft = "bioimage-io/affable-shark"
    assert page(ZOO, draft) == f"https://bioimage.io/#/upload?artifact_id={draft}&stage=true"
    local = "http://127.0.0.1:1/bioimage-io/artifacts/affable-shark?version=stage"
    assert page("http://127.0.0.1:1", draft) == local


def test_unwritable_folder(zoo: FakeZoo, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made on the server if it could not be remembered here."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkstemp", refuse)
        assert "an upload is remembered beside" in mistake(lambda: upload(package, zoo))
    assert not zoo.drafts


# --- the command ---------------------------------------------------------------------------------


def test_dry_run_sends_nothing(zoo: FakeZoo, package: Path) -> None:
    done = command(package, "--server", zoo.address, token=None)
    assert done.returncode == 0, done.stderr
    assert not zoo.seen
    assert not state_path(package).exists()
    plan = make_plan(package)
    for item in plan.items:
        assert f"{len(item.data):>13,}  {item.weight:>6}  {item.sha256}  {item.name}" in done.stdout
    for text in (
        "Double, version 0.1.0, licence MIT",
        f"to {zoo.address}, collection {COLLECTION}, name {{animal_adjective}}-{{animal}}",
        "rdf.yaml is sent without its id good-model",
        "Pre-checks: passed",
        f"Nothing was sent. To send it: bmz-ddpm upload {package} --send",
    ):
        assert text in done.stdout


def test_default_server_is_the_zoo(package: Path) -> None:
    assert f"to {ZOO}, collection" in command(package, token=None).stdout


def test_command_sends(zoo: FakeZoo, package: Path) -> None:
    done = command(package, "--send", "--server", zoo.address)
    assert done.returncode == 0, done.stderr
    (draft,) = zoo.drafts
    check_intact(zoo, draft, package)
    assert f"{draft}: {FILES} files are stored intact; it waits for its reviewers." in done.stdout
    workspace, alias = draft.split("/")
    last = f"{zoo.address}/{workspace}/artifacts/{alias}?version=stage\n"
    assert done.stdout.endswith(last)
    assert TOKEN not in done.stdout + done.stderr + state_path(package).read_text()


def command_mistake(*arguments: object, token: str | None = TOKEN) -> str:
    done = command(*arguments, token=token)
    assert done.returncode == 1
    assert TOKEN not in done.stdout + done.stderr
    first, second = done.stderr.splitlines()[-2:]
    assert second.startswith("fix:   ")
    assert "Traceback" not in done.stderr
    return first


def test_command_without_token(zoo: FakeZoo, package: Path) -> None:
    problem = command_mistake(package, "--send", "--server", zoo.address, token=None)
    assert problem.startswith("error: token: is missing")
    assert not zoo.seen


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_command_asks_for_the_token(zoo: FakeZoo, package: Path) -> None:
    """At a terminal, and without showing what is typed."""
    import pty

    master, slave = pty.openpty()
    code = "from bmz_ddpm.cli.main import main; main()"
    environment = {k: v for k, v in os.environ.items() if k != "BIOIMAGEIO_TOKEN"}
    with subprocess.Popen(
        [sys.executable, "-c", code, "upload", package, "--send", "--server", zoo.address],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # no terminal but this one
    ) as running:
        assert running.stderr
        asked = b""
        while not asked.endswith(b": "):
            asked += running.stderr.read(1) or pytest.fail(asked.decode())
        os.write(master, TOKEN.encode() + b"\n")
        out, err = running.communicate(timeout=60)
    os.set_blocking(master, False)
    try:
        shown = os.read(master, 1000)
    except BlockingIOError:
        shown = b""
    os.close(slave)
    os.close(master)
    assert running.returncode == 0, err
    assert asked.decode().startswith(f"Token for {zoo.address}")
    assert TOKEN.encode() not in shown + out + err
    (draft,) = zoo.drafts
    check_intact(zoo, draft, package)


def test_command_without_server(package: Path) -> None:
    problem = command_mistake(package, "--send", "--server", NOWHERE)
    assert problem.startswith(f"error: {NOWHERE}: cannot be reached")


def test_command_with_a_failing_pre_check(good: Draft, tmp_path: Path, zoo: FakeZoo) -> None:
    good.rdf["license"] = "free"
    path = good.write(tmp_path / "m.zip")
    done = command(path, "--send", "--server", zoo.address)
    assert done.returncode == 1
    assert "Pre-checks: 1 stops the upload\n  because: license: free" in done.stdout
    assert done.stderr.startswith("error: license: free, the zoo takes one identifier")
    assert not zoo.seen


def test_token_is_no_option(package: Path) -> None:
    help_text = command("--help").stdout
    assert "--token" not in help_text
    assert "BIOIMAGEIO_TOKEN" in help_text


def test_the_zoos_address_has_one_home() -> None:
    """The command line cannot import it without importing httpx."""
    import inspect

    from bmz_ddpm.cli.upload import upload as verb

    assert inspect.signature(verb).parameters["server"].default == ZOO


# --- the real artifact manager -------------------------------------------------------------------


@pytest.fixture(scope="module")
def hypha(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hypha]:
    reason = why_no_hypha()
    if reason:
        pytest.skip(reason)
    with real_hypha(tmp_path_factory.mktemp("hypha")) as server:
        yield server


@pytest.fixture
def named(good: Draft, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A package with a content of its own: the server lives as long as all tests."""
    good.files["README.md"] += request.node.name.encode()
    return good.write(tmp_path / "model.zip")


def check_real(hypha: Hypha, plan: Plan) -> str:
    """One draft that is in review and not published, every file as planned; return its id."""
    (found,) = hypha.drafts(plan.key)
    assert found["manifest"]["status"] == "in-review"
    assert found["versions"] == []
    staged = {e["path"]: e.get("download_weight", 0) for e in found["staging"] if "path" in e}
    assert staged == {item.name: item.weight for item in plan.items}
    stored = hypha.fetch(found["id"], list(staged))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in stored.items()}
    assert hashes == {item.name: item.sha256 for item in plan.items}
    return str(found["id"])


def real_upload(package: Path, hypha: Hypha, user: str = "ada") -> str:
    with ArtifactManager(hypha.address, hypha.tokens[user]) as manager:
        sent = send(make_plan(package), manager)
    with direct().open(sent.record) as answer:  # what a browser would get
        assert json.load(answer)["manifest"]["status"] == "in-review"
    return sent.draft


@pytest.mark.hypha
def test_real_upload(hypha: Hypha, named: Path) -> None:
    plan = make_plan(named)
    draft = real_upload(named, hypha)
    assert check_real(hypha, plan) == draft
    (found,) = hypha.drafts(plan.key)
    assert found["manifest"] == {**plan.manifest, "status": "in-review"}
    assert found["created_by"] == "ada"
    assert real_upload(named, hypha) == draft
    state_path(named).unlink()
    assert real_upload(named, hypha) == draft
    check_real(hypha, plan)


#: 0 list, 1 save, 2 create, 3 save; of the first file 4 put_file, 5 PUT, 6 get_file, 7 GET; …
LAST = 2 + 4 * FILES
KILLS = [(0, "after"), (1, "after"), (2, "after"), (3, "after"), (4, "after")]
KILLS += [(5, "middle"), (5, "after"), (6, "after"), (7, "after"), (4 * 3 + 5, "middle")]
KILLS += [(LAST, "before"), (LAST, "after"), (LAST + 1, "after")]


@pytest.mark.hypha
@pytest.mark.parametrize(("step", "when"), KILLS)
def test_real_kill(hypha: Hypha, named: Path, step: int, when: str) -> None:
    token = hypha.tokens["ada"]
    killed = upload_in_a_process(named, hypha.address, token, step, when)
    assert killed.returncode == -9, killed.stderr
    done = upload_in_a_process(named, hypha.address, token)
    assert done.returncode == 0, done.stderr
    assert token not in done.stdout + done.stderr + state_path(named).read_text()
    draft = check_real(hypha, make_plan(named))
    assert f"{draft}: {FILES} files are stored intact" in done.stdout


@pytest.mark.hypha
def test_real_wrong_token(hypha: Hypha, named: Path) -> None:
    right = hypha.tokens["ada"]
    for token in ("nonsense", right[:-4] + "aaaa"):
        with ArtifactManager(hypha.address, token) as manager:
            problem = mistake(lambda m=manager: send(make_plan(named), m))
        assert problem.startswith(f"token: is not accepted by {hypha.address} (HTTP 401")
    assert not hypha.drafts(make_plan(named).key)


@pytest.mark.hypha
def test_real_account_without_permission(hypha: Hypha, named: Path) -> None:
    hypha.permit("r")
    try:
        problem = mistake(lambda: real_upload(named, hypha))
    finally:
        hypha.permit("r+")
    assert problem.startswith(f"{hypha.address}: does not allow this account to make a draft in ")
    assert not hypha.drafts(make_plan(named).key)
    real_upload(named, hypha)
    check_real(hypha, make_plan(named))


@pytest.mark.hypha
def test_real_drafts_of_others_are_left_alone(hypha: Hypha, named: Path) -> None:
    of_bob = real_upload(named, hypha, "bob")
    state_path(named).unlink()
    of_ada = real_upload(named, hypha)
    found = {d["id"]: d["created_by"] for d in hypha.drafts(make_plan(named).key)}
    assert found == {of_bob: "bob", of_ada: "ada"}


@pytest.mark.hypha
def test_real_odd_metadata(hypha: Hypha, good: Draft, tmp_path: Path) -> None:
    good.rdf["config"]["odd"] = {"when": date(2024, 1, 2), 1: math.nan, "e": "é ☃ % _ \\"}
    good.files["d e/ü.txt"] = b"\r\n\0"
    package = good.write(tmp_path / "m.zip")
    real_upload(package, hypha)
    check_real(hypha, make_plan(package))


@pytest.mark.hypha
def test_real_discarded_and_deleted_drafts(hypha: Hypha, named: Path) -> None:
    draft = real_upload(named, hypha)
    token = hypha.tokens["ada"]
    hypha.artifact("discard", token, artifact_id=draft)
    assert "is no draft any more" in mistake(lambda: real_upload(named, hypha))
    hypha.artifact("delete", artifact_id=draft)  # its owner may not
    again = real_upload(named, hypha)
    assert check_real(hypha, make_plan(named)) == again

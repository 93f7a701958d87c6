"""The upload itself: can be killed anywhere, and repeated until it is done.

Every step looks at the server first and does only what is missing. The draft carries a key made
from the package's content, so it is found again even if its id was never heard of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..check.package import mapping, sequence
from ..errors import UploadError
from .client import ZOO, ArtifactManager, RefusedError
from .plan import ALIAS, COLLECTION, KEY, Item, Plan
from .state import State, load_state, save_state

Report = Callable[[str], None]
#: Status of a draft while its files arrive, and when its reviewers may look at it.
DRAFT, IN_REVIEW = "draft", "in-review"
#: Seconds between the searches for a draft whose creation was never confirmed.
PAUSES = (1.0, 2.0)


@dataclass(frozen=True)
class Sent:
    """Where the package is now.

    Attributes
    ----------
    draft : str
        Id on the server, such as bioimage-io/affable-shark.
    page : str
        Web address at which its owner sees it.
    record : str
        Web address of what the server stores about it.
    new_files : int
        Files sent by this run.
    """

    draft: str
    page: str
    record: str
    new_files: int


def send(plan: Plan, manager: ArtifactManager, report: Report = lambda _: None) -> Sent:
    """Bring a package to the status in-review, from wherever an earlier run stopped.

    Nothing is ever published: that is for the zoo's reviewers.

    Parameters
    ----------
    plan : Plan
    manager : ArtifactManager
    report : callable
        Called with one line per step.

    Raises
    ------
    UploadError
        If a rule stops it, the server refuses or fails, or a file cannot be stored intact.
    """
    plan.require()
    state, earlier = load_state(plan.root, manager.server, plan.key)
    if earlier:
        report(f"an earlier content of this package is {earlier}: it is left as it is")
    current = _resume(plan, manager, state, report)
    fresh = current is None
    if current is None:
        current = _create(plan, manager, state)
        report(f"made the draft {state.draft}")
    draft = str(state.draft)
    new = sum(_bring(item, draft, manager, fresh, report) for item in plan.items)
    if current.get("status") == DRAFT:
        _hand_in(plan, current, draft, manager)
        report(f"{draft}: is now {IN_REVIEW}")
    else:
        report(f"{draft}: was {IN_REVIEW} already")
    return Sent(draft, page(manager.server, draft), record(manager.server, draft), new)


def page(server: str, draft: str) -> str:
    """Return the web address at which the owner of a draft sees it."""
    if server == ZOO:
        return f"https://bioimage.io/#/upload?artifact_id={draft}&stage=true"
    return record(server, draft)


def record(server: str, draft: str) -> str:
    """Return the web address of what the server stores about a draft."""
    workspace, alias = draft.split("/")
    return f"{server}/{workspace}/artifacts/{alias}?version=stage"


def _resume(
    plan: Plan, manager: ArtifactManager, state: State, report: Report
) -> dict[str, Any] | None:
    """Return the manifest of the draft of an earlier run, None if there is no such draft."""
    if state.draft:
        found = _read(state.draft, manager)
        if found is not None:
            report(f"goes on with the draft {state.draft}")
            return _ours(found, state.draft, manager)
        report(f"the draft {state.draft} is no longer there")
        state.draft, state.asked = None, False
    for pause in (0.0, *(PAUSES if state.asked else ())):
        time.sleep(pause)  # a server may still be busy with what the killed run asked for
        draft = _search(plan, manager)
        if draft:
            state.draft = draft
            save_state(plan.root, state)
            report(f"found the draft {draft} of an earlier run")
            return _ours(_read(draft, manager) or {}, draft, manager)
    return None


def _search(plan: Plan, manager: ArtifactManager) -> str | None:
    """Return the first draft with our key that this account may change."""
    listed = manager.call(
        "list",
        f"search {COLLECTION} for an earlier draft",
        parent_id=COLLECTION,
        keywords=[plan.key],
        stage=True,
        silent=True,
    )
    if listed is None:
        raise UploadError(
            f"{manager.server}: has no collection {COLLECTION}, drafts go there",
            f"give --server the zoo's address, {ZOO}",
        )
    found = [mapping(entry) for entry in sequence(listed)]
    for entry in sorted(found, key=lambda e: (e.get("created_at", 0), str(e.get("id")))):
        key = mapping(mapping(mapping(entry.get("manifest")).get("config")).get("bmz_ddpm")).get(
            KEY
        )
        draft = entry.get("id")
        if key == plan.key and isinstance(draft, str) and _may_change(draft, manager):
            return draft
    return None


def _may_change(draft: str, manager: ArtifactManager) -> bool:
    """Ask for an edit that changes nothing: the same package may be somebody else's draft."""
    try:
        answer = manager.call("edit", f"go on with {draft}", artifact_id=draft, stage=True)
    except RefusedError:
        return False
    return answer is not None


def _read(draft: str, manager: ArtifactManager) -> dict[str, Any] | None:
    found = manager.call("read", f"show {draft}", artifact_id=draft, stage=True, silent=True)
    return None if found is None else mapping(found)


def _ours(found: dict[str, Any], draft: str, manager: ArtifactManager) -> dict[str, Any]:
    """Return the manifest if it is still a draft that waits for us."""
    manifest = mapping(found.get("manifest"))
    status = manifest.get("status")
    if found.get("staging") is None or status not in (DRAFT, IN_REVIEW):
        what = "is no draft any more" if found.get("staging") is None else f"has status {status}"
        raise UploadError(
            f"{draft}: {what}, only drafts in status {DRAFT} or {IN_REVIEW} are changed",
            f"look at {page(manager.server, draft)}; to upload the package once more, delete the "
            "file .upload.json beside it",
        )
    return manifest


def _create(plan: Plan, manager: ArtifactManager, state: State) -> dict[str, Any]:
    state.asked = True
    save_state(plan.root, state)
    manifest = {**plan.manifest, "status": DRAFT}
    made = manager.call(
        "create",
        f"make a draft in {COLLECTION}",
        parent_id=COLLECTION,
        alias=ALIAS,
        type="model",
        manifest=manifest,
        stage=True,
    )
    draft = mapping(made).get("id")
    if not isinstance(draft, str) or draft.count("/") != 1:
        raise UploadError(
            f"{manager.server}: made a draft without telling its id, an upload needs it",
            "repeat the command: it searches for the draft",
        )
    state.draft = draft
    save_state(plan.root, state)
    return manifest


def _bring(item: Item, draft: str, manager: ArtifactManager, fresh: bool, report: Report) -> int:
    """See that a file is stored intact; return 1 if it had to be sent, else 0."""
    size = f"{len(item.data):,} bytes"
    if not fresh and _stored(item, draft, manager) == item.sha256:
        report(f"{item.name}: is there already, {size}, same SHA-256")
        return 0
    stored = None
    for _ in range(2):
        address = manager.call(
            "put_file",
            f"take {item.name}",
            artifact_id=draft,
            file_path=item.name,
            download_weight=item.weight,
        )
        manager.store(address, item.data, item.name)
        stored = _stored(item, draft, manager)
        if stored == item.sha256:
            report(f"{item.name}: sent, fetched back and compared, {size}")
            return 1
    raise UploadError(
        f"{item.name}: was stored twice with the SHA-256 {stored}, it has to be {item.sha256}",
        f"repeat the command; if it stays like that, tell those who run {manager.server}",
    )


def _stored(item: Item, draft: str, manager: ArtifactManager) -> str | None:
    address = manager.call(
        "get_file",
        f"give {item.name} back",
        artifact_id=draft,
        file_path=item.name,
        stage=True,
        silent=True,
    )
    return None if address is None else manager.stored_sha256(address, item.name)


def _hand_in(plan: Plan, current: dict[str, Any], draft: str, manager: ArtifactManager) -> None:
    """Set the status for the reviewers, in a staged edit: it publishes nothing."""
    manifest = {**current, **plan.manifest, "status": IN_REVIEW}
    job = f"set {draft} to {IN_REVIEW}"
    manager.call("edit", job, artifact_id=draft, manifest=manifest, stage=True)
    found = mapping(_read(draft, manager))
    status = mapping(found.get("manifest")).get("status")
    if status != IN_REVIEW or found.get("staging") is None:
        raise UploadError(
            f"{draft}: has the status {status} after it was set to {IN_REVIEW}",
            f"look at {page(manager.server, draft)}, then repeat the command",
        )

"""Where things come from: one way to write it down, and what of it enters a stage's identity.

    embedded:<name>                  ships with the package
    https://…                        a file on the web, given together with its sha256
    hub:<owner>/<data set>/<file>    a data set's file on the Hugging Face hub
    anything else                    a path on this machine, or, for models, a hub id

The hub is asked once per process: the cells of a sweep get the same commit whatever happens there
meanwhile, and where nothing answers, a person waits for one time-out and not for one per cell.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mini_lima.downloads import check, download
from mini_lima.errors import UserError
from mini_lima.fingerprint import content_hash

log = logging.getLogger(__name__)
ASSETS = Path(__file__).parent / "assets"
SECONDS = 10.0
"""How long the hub may take to answer."""


@dataclass(frozen=True)
class HubModel:
    """A model on the hub at one commit; the same wherever its files are kept."""

    id: str
    commit: str


def local_file(source: str, revision: str = "main") -> Path:
    """Return the path of a file that is here, or is fetched from the hub first.

    Args:
        source: As above.
        revision: Branch, tag or commit of a data set on the hub.

    Raises:
        UserError: it does not exist, or the hub cannot be reached.
    """
    if source.startswith("hub:"):
        found = _hub_file(source, revision)
        if isinstance(found, str):
            raise UserError(found)
        return found
    embedded = source.startswith("embedded:")
    path = ASSETS / source.removeprefix("embedded:") if embedded else Path(source).expanduser()
    if not path.exists():
        shipped = sorted(each.name for each in ASSETS.iterdir())
        there_are = f"; embedded are {', '.join(shipped)}" if embedded else ""
        raise UserError(f"{source}: no such file{there_are}")
    return path


def checked_file(source: str, sha256: str | None, downloads: Path, revision: str = "main") -> Path:
    """Return a `local_file`, or one from the web, whose contents have this ``sha256``.

    Args:
        source: As above.
        sha256: In hex; None only for a file that is here.
        downloads: Folder that keeps what was fetched.
        revision: See `local_file`.

    Raises:
        UserError: it cannot be had, or is another file.
    """
    if is_address(source):
        if sha256 is None:
            raise UserError(f"{source}: a file from the web needs its sha256")
        return download(source, sha256, downloads)
    path = local_file(source, revision)
    if sha256 is not None:
        check(path, sha256)
    return path


def is_address(source: str) -> bool:
    """Whether ``source`` is on the web."""
    return source.startswith(("http://", "https://"))


def model(source: str, revision: str) -> Path | HubModel:
    """Return the folder of a local or embedded model, or the commit of one on the hub.

    Raises:
        UserError: neither a folder with a model nor one that the hub, or its cache here, knows.
    """
    if source.startswith(("embedded:", "/", "./", "../", "~")) or Path(source).is_dir():
        folder = local_file(source)
        if not (folder / "config.json").is_file():
            raise UserError(f"model {source}: no config.json there, so it is not a model's folder")
        return folder
    commit, reason = _commit(source, revision, "config.json", "model")
    if commit is None:
        raise UserError(
            f"model {source} cannot be had ({reason}): check model.source, model.revision and the"
            " network, or give a local folder as model.source"
        )
    return HubModel(source, commit)


@cache
def _hub_file(source: str, revision: str) -> Path | str:
    """The path of a data set's file in the hub's cache, or why it is not there."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    owner, _, rest = source.removeprefix("hub:").partition("/")
    name, _, file = rest.partition("/")
    if not (owner and name and file):
        return f"{source}: a file on the hub is written hub:<owner>/<data set>/<file>"
    # The download alone would try for half a minute before it says that there is no network.
    commit, reason = _commit(f"{owner}/{name}", revision, file, "dataset")
    try:
        if commit is not None:
            which, kind = (f"{owner}/{name}", file), "dataset"
            kept = try_to_load_from_cache(*which, repo_type=kind, revision=commit)
            path = Path(hf_hub_download(*which, repo_type=kind, revision=commit))
            if not isinstance(kept, str):
                log.info("downloaded %s: commit %s, sha256 %s", source, commit, content_hash(path))
            return path
    except Exception as error:
        reason = _reason(error)
    remedy = "check the network, or download the file and give its path"
    return f"{source} cannot be had ({reason}): {remedy}"


@cache
def _commit(repository: str, revision: str, file: str, kind: str) -> tuple[str | None, str]:
    """The commit that ``revision`` stands for, or why there is none.

    The hub is not asked about a commit whose ``file`` is in its cache. Where it does not answer, a
    branch is at the commit that it named last, if ``file`` was downloaded then.
    """
    from huggingface_hub import HfApi, constants, errors, try_to_load_from_cache
    from huggingface_hub.file_download import REGEX_COMMIT_HASH

    try:
        cached = try_to_load_from_cache(repository, file, revision=revision, repo_type=kind)
        if isinstance(cached, str) and REGEX_COMMIT_HASH.fullmatch(revision):
            return revision, ""
        if constants.HF_HUB_OFFLINE:
            raise errors.OfflineModeIsEnabled
        hub = HfApi()
        found = hub.repo_info(repository, revision=revision, repo_type=kind, timeout=SECONDS)
        assert found.sha is not None
        if revision != found.sha:
            _note(repository, revision, kind, found.sha)
        return found.sha, ""
    except errors.HFValidationError:
        return None, "neither a path here nor a name on the hub"
    except Exception as error:  # the hub's HTTP library raises what it likes
        # …/snapshots/<commit>/<file>
        up = len(Path(file).parents) - 1
        return (Path(cached).parents[up].name if isinstance(cached, str) else None), _reason(error)


def _note(repository: str, revision: str, kind: str, commit: str) -> None:
    """Note a branch's commit in the hub's cache, as downloads by branch do; ours are by commit."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=repository, repo_type=kind)
    reference = Path(constants.HF_HUB_CACHE, folder, "refs", revision)
    with suppress(OSError):
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="utf-8")


def _reason(error: BaseException) -> str:
    """What stood between us and the hub, in a few words."""
    from huggingface_hub import errors

    told = {
        errors.GatedRepoError: "it is gated: accept its terms on the hub, then run hf auth login",
        errors.RepositoryNotFoundError: "the hub knows no such name, or it needs hf auth login",
        errors.RevisionNotFoundError: "the hub knows no such revision",
        errors.RemoteEntryNotFoundError: "the hub knows no such file",
        errors.OfflineModeIsEnabled: "HF_HUB_OFFLINE is set, and it was not downloaded before",
    }
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    for kind, words in told.items():
        if any(isinstance(each, kind) for each in causes):
            return words
    return str(causes[-1]).strip().partition("\n")[0] or type(causes[-1]).__name__

"""Where things come from: one way to write it down, and what of it enters a stage's identity.

    embedded:<name>                  ships with the package
    https://…                        a file on the web, given together with its sha256
    hub:<owner>/<data set>/<file>    a data set's file on the Hugging Face hub
    anything else                    a path on this machine, or, for models, a hub id

Where the file is a data set (`data_file`), there is more:

    https://…#sha256=<hex>                                    a file on the web
    hub:<owner>/<data set>[@<revision>][:[<config>/]<split>]  all rows of a split, as JSON Lines
    hub:<owner>/<data set>[@<revision>]/<file>                one of its files

The hub is asked once per process: the cells of a sweep get the same commit whatever happens there
meanwhile, and where nothing answers, a person waits for one time-out and not for one per cell.
"""

import json
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mini_lima.downloads import check, download
from mini_lima.errors import UserError
from mini_lima.store.fingerprint import content_hash

log = logging.getLogger(__name__)
ASSETS = Path(__file__).parent / "assets"
ON_THE_HUB = re.compile(
    r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?"
    r"(?:/(?P<file>.+)|:(?:(?P<config>[^/:]+)/)?(?P<split>[^/:]+))?"
)
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


def data_file(source: str, downloads: Path) -> Path:
    """Return the file of a data set; a whole one on the hub becomes a file in ``downloads``.

    What a data set on the hub is made of is the commit that its revision stands for; the file that
    is made of it is the same wherever and whenever it is made.

    Args:
        source: As above.
        downloads: Folder that keeps what was fetched.

    Raises:
        UserError: it cannot be had, or is another file.
    """
    if is_address(source):
        address, _, sha256 = source.partition("#sha256=")
        if not sha256:
            raise UserError(
                f"{source}: a file from the web needs its sha256; write {address}#sha256=<hex>"
            )
        return checked_file(address, sha256, downloads)
    if not source.startswith("hub:"):
        return local_file(source)
    named = ON_THE_HUB.fullmatch(source)
    if named is None:
        raise UserError(
            f"{source}: a data set on the hub is written hub:<owner>/<data set>, if need be with"
            " @<revision> after it, and then :<split>, :<config>/<split> or /<file>"
        )
    revision = named["revision"] or "main"
    if named["file"]:
        return local_file(f"hub:{named['id']}/{named['file']}", revision)
    found = _hub_set(named["id"], revision, named["config"], named["split"], downloads.absolute())
    if isinstance(found, str):
        raise UserError(f"{source} cannot be had {found}")
    return found


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
def _hub_set(
    repository: str, revision: str, config: str | None, split: str | None, downloads: Path
) -> Path | str:
    """The rows of a data set on the hub as a file in ``downloads``, or why there is none."""

    def file_at(commit: str) -> Path:
        named = "--".join(filter(None, [repository.replace("/", "--"), config, split]))
        return downloads / f"{named}@{commit}.jsonl"

    if file_at(revision).is_file():  # it is a commit
        return file_at(revision)
    commit, reason = _commit(repository, revision, "README.md", "dataset")
    # Where the hub does not answer, a branch is at the commit that it named last.
    commit = commit or _noted(repository, revision, "dataset")
    if commit is not None and file_at(commit).is_file():
        return file_at(commit)
    if commit is None or reason:
        return f"({reason}): check name and network, or download it and give the path of its file"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        _write_rows(repository, commit, config, split, file_at(commit))
    except UserError as error:
        return str(error)
    except Exception as error:  # datasets raises what its readers raise
        return f"({_reason(error)}): download it and give the path of its file"
    log.info("read %s at commit %s from the hub: %s", repository, commit, file_at(commit))
    return file_at(commit)


def _write_rows(
    where: str, commit: str | None, config: str | None, split: str | None, target: Path
) -> None:
    """Write the rows of a split as JSON Lines; nothing is decoded, and no code of the set is run.

    Args:
        where: Id on the hub, or a folder.
        commit: None for a folder.
        config: None for the only one, or the default.
        split: None for ``train``, or the only one.
        target: Is there whole or not at all.

    Raises:
        UserError: there is no such configuration or split, or one must be chosen.
    """
    import datasets

    from mini_lima.data.tables import plain

    configs = datasets.get_dataset_config_names(where, revision=commit)
    config = _chosen("configuration", config, configs, "default")
    splits = datasets.get_dataset_split_names(where, config, revision=commit)
    split = _chosen("split", split, splits, "train")
    rows = datasets.load_dataset(where, config, split=split, revision=commit)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as file:
        try:
            for batch in rows.with_format("arrow").iter(1_000):
                for row in batch.to_pylist():
                    file.write(json.dumps(plain(row), ensure_ascii=False) + "\n")
            file.close()
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def _chosen(what: str, asked: str | None, there: Sequence[str], usual: str) -> str:
    if asked is not None and asked in there:
        return asked
    if asked is None and (len(there) == 1 or usual in there):
        return usual if usual in there else there[0]
    how = ":<config>/<split>" if what == "configuration" else ":<split>"
    told = f"it has no {what} {asked}" if asked else f"which {what} is not said"
    raise UserError(f"({told}): there are {', '.join(there)}; write {how} after its name")


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


def _noted(repository: str, revision: str, kind: str) -> str | None:
    """The commit that `_note` or a download by branch noted."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=repository, repo_type=kind)
    try:
        return Path(constants.HF_HUB_CACHE, folder, "refs", revision).read_text("utf-8").strip()
    except OSError:
        return None


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

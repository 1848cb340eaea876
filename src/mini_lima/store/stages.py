"""Work that is done once: a stage says what is to be made, the store makes it and keeps it.

A stage is frozen data. Its fingerprint covers what changes the output (its function's dotted name,
params, the fingerprints of its inputs, the content of the files it reads, a version raised by hand
when the code changes what it produces) and nothing else: no path, host, date, device or credential.

The store keeps one promise: **a directory that exists is complete.** Output is written to a partial
directory and renamed into place last, under a lock that dies with its holder. Nothing else records
that a stage is done, so there is nothing to disagree with the disk after a crash. What an attempt
left half-way is cleared by whoever takes the lock next. What has changed since it was finished is
not used (`contents`).

Long work resumes inside itself: a function that takes ``work_dir`` is given a folder that outlives
its attempts and goes when the stage is complete.

    root/<name>/<label>-<fingerprint>/      a finished stage, with its stage.json
    root/<name>/logs/<label>-<fingerprint>.log
    root/<name>/.partial/  root/<name>/.work/  root/<name>/.locks/

It knows nothing of the project: not what the stages are, nor what they write.
"""

import contextlib
import copy
import inspect
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.files import look_again, write_json
from mini_lima.store import contents
from mini_lima.store.atomic import whole_directory
from mini_lima.store.fingerprint import content_hash, digest, dotted_name, plain
from mini_lima.store.lock import locked
from mini_lima.store.provenance import provenance
from mini_lima.text import LogFormatter, redacted

logger = logging.getLogger(__name__)
WORK_DIR = "work_dir"


@dataclass(frozen=True, eq=False, repr=False)
class Stage:
    """One piece of work: ``function(output_dir, **params, **inputs, **files, **settings)``.

    Raises:
        ValueError: Two mappings share a keyword, the function does not take these keywords, or a
        param has no stable form.
    """

    name: str
    """The kind of work, and the folder in the store."""
    label: str
    """For people: begins the directory's name, is no part of the identity."""
    function: Callable[..., None]
    """Writes its output into an empty directory that exists."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What changes the output."""
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)
    """Stages whose finished directories are read."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Files or folders that are read; identified by content."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it is done, not what: device, cache, concurrency."""
    version: int = 1
    """Raised by hand when the code changes what it produces."""
    unchecked: tuple[str, ...] = ()
    """Folders in its output that other programs go on writing into when it is finished."""

    def __post_init__(self) -> None:
        """Refuse what would otherwise fail hours later, or give two things one identity."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.name) or not self.label:
            raise ValueError(f"{self._title}: the name must do as a folder, and a label is needed")
        if not inspect.isfunction(self.function):
            raise ValueError(f"{self._title}: {self.function!r} is not a plain function")
        uses = Counter([*self.params, *self.inputs, *self.files, *self.settings])
        if twice := sorted(keyword for keyword, count in uses.items() if count > 1):
            raise ValueError(f"{self._title}: passed more than once: {', '.join(twice)}")
        given = {**uses, WORK_DIR: 1} if self.resumes else uses
        try:
            inspect.signature(self.function).bind(Path(), **given)
        except TypeError as error:
            raise ValueError(f"{self._title}: its function has {error}") from error
        plain(dict(self.params), f"{self._title}: params")
        # Its own copy: a dict that is changed after the fingerprint was taken would make it a lie.
        object.__setattr__(self, "params", copy.deepcopy(dict(self.params)))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that the fingerprint covers, as JSON types.

        Raises:
            UserError: A file cannot be read.
        """
        return {
            "name": self.name,
            "function": dotted_name(self.function),
            "version": self.version,
            "params": plain(dict(self.params), "params"),
            "inputs": {keyword: stage.fingerprint for keyword, stage in self.inputs.items()},
            "files": self.hash_files(),
        }

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the identity, in hex."""
        return digest(self.identity)

    @property
    def resumes(self) -> bool:
        """Whether the function takes a folder in which it finds what an earlier attempt left."""
        return WORK_DIR in inspect.signature(self.function).parameters

    @property
    def key(self) -> str:
        """The part of the fingerprint that file names carry: 48 bits, plenty for one store."""
        return self.fingerprint[:12]

    @property
    def directory(self) -> str:
        """Name of the directory that a first build makes."""
        readable = re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", self.label).strip("-.")[:80]
        return f"{readable or self.name}-{self.key}"

    def hash_files(self) -> dict[str, str]:
        """Return the content hash of each file as it is now."""
        hashes = {}
        for keyword, path in self.files.items():
            try:
                hashes[keyword] = content_hash(path)
            except OSError as error:
                where, why = error.filename or path, error.strerror or error
                raise UserError(f"{self._title}: cannot read {keyword}: {where}: {why}") from error
        return hashes

    def __str__(self) -> str:
        """Return what log lines and errors call it."""
        return f"{self.name} {self.directory}"

    @property
    def _title(self) -> str:
        return f"stage {self.name} {self.label}"


def walk(stages: Iterable[Stage]) -> list[Stage]:
    """Return all that is needed for ``stages``, inputs first, each fingerprint once."""
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.fingerprint not in found:
            for needed in stage.inputs.values():
                visit(needed)
            found[stage.fingerprint] = stage

    for stage in stages:
        visit(stage)
    return list(found.values())


class StageFailed(Exception):  # noqa: N818 - it reads as the sentence it stands for
    """A stage's function raised. One line; the traceback is in the log."""

    def __init__(self, message: str, stage: Stage, log: Path) -> None:
        """Say ``message`` about ``stage``; keep both and the log for the caller."""
        # All three in args, or the exception would not survive the pickling of a launcher.
        super().__init__(message, stage, log)
        self.stage = stage
        self.log = log

    def __str__(self) -> str:
        """Return the one line."""
        return str(self.args[0])


class Store:
    """A folder of finished stages, shared by any number of processes."""

    def __init__(
        self,
        root: Path,
        packages: Sequence[str] = (),
        circumstances: Mapping[str, Any] | None = None,
    ) -> None:
        """Use ``root``, made when needed.

        Args:
            root: The folder.
            packages: Distributions whose versions are noted as provenance.
            circumstances: What else is, as it is: JSON types, and no secrets.
        """
        self.root = root.absolute()
        self.packages = packages
        self.circumstances = circumstances or {}
        self.executed: list[Stage] = []
        """What this object has run itself, in order; nothing that was found or waited for."""

    def path(self, stage: Stage) -> Path:
        """Return where the finished stage is, under whichever label, or where it will be."""
        return self._find(stage) or self.root / stage.name / stage.directory

    def is_finished(self, stage: Stage) -> bool:
        """Whether the stage's output is there."""
        return self._find(stage) is not None

    def work_dir(self, stage: Stage) -> Path:
        """Return the folder that outlives attempts at the stage, and is gone with the last."""
        return self.root / stage.name / ".work" / stage.key

    def build(self, stage: Stage) -> Path:
        """Return the stage's finished directory; whatever is missing for it is made first.

        One lock is held at a time and inputs come first, so builders cannot block each other.

        Raises:
            StageFailed: A function raised, or its output could not be written.
            UserError: Raised by a function, passed on as it is; the store cannot be used; or what
                is finished is damaged.
        """
        if not self.is_finished(stage):
            inputs = {keyword: self.build(needed) for keyword, needed in stage.inputs.items()}
            # By fingerprint alone: two labels of the same work are the same work.
            with locked(self.root / stage.name / ".locks" / f"{stage.key}.lock", str(stage)):
                look_again(self.root / stage.name)
                if not self.is_finished(stage):
                    self._execute(stage, inputs)
        path = self.path(stage)
        contents.check(path)
        return path

    def reads(self, stages: Iterable[Stage]) -> dict[Path, None]:
        """Return the finished directories that building ``stages`` takes up, each once."""
        found: dict[Path, None] = {}
        for stage in stages:
            if path := self._find(stage):
                found[path] = None
            else:
                found |= self.reads(stage.inputs.values())
        return found

    def _find(self, stage: Stage) -> Path | None:
        return next((self.root / stage.name).glob(f"*-{stage.key}"), None)

    def _execute(self, stage: Stage, inputs: Mapping[str, Path]) -> None:
        target = self.root / stage.name / stage.directory
        work_dir = self.work_dir(stage)
        log = target.parent / "logs" / f"{target.name}.log"
        started = datetime.now(UTC)
        try:
            with _logging_to(log):
                logger.info("%s …", stage)
                with whole_directory(target, stage.key) as output_dir:
                    self._fill(output_dir, stage, inputs, work_dir, started)
                shutil.rmtree(work_dir, ignore_errors=True)
                seconds = (datetime.now(UTC) - started).total_seconds()
                logger.info("%s … done in %.1f s", stage, seconds)
        except UserError:
            raise
        except Exception as error:
            reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            reason = ", ".join([reason, *getattr(error, "__notes__", [])])
            raise StageFailed(f"{stage} failed: {reason} (log: {log})", stage, log) from error
        self.executed.append(stage)

    def _fill(
        self,
        output_dir: Path,
        stage: Stage,
        inputs: Mapping[str, Path],
        work_dir: Path,
        started: datetime,
    ) -> None:
        params = copy.deepcopy(dict(stage.params))  # the function may do with them as it likes
        if stage.resumes:
            work_dir.mkdir(parents=True, exist_ok=True)
            params[WORK_DIR] = work_dir
        stage.function(output_dir, **params, **inputs, **stage.files, **stage.settings)
        if stage.hash_files() != stage.identity["files"]:
            raise UserError(f"{stage}: a file it reads was changed while it ran; run it again")
        circumstances = provenance(stage.function, self.packages, started, datetime.now(UTC))
        record: dict[str, Any] = {
            "identity": {**stage.identity, "fingerprint": stage.fingerprint},
            "provenance": {"label": stage.label, **self.circumstances, **circumstances},
        }
        record = redacted(record)
        record["contents"] = contents.describe(output_dir, record, without=stage.unchecked)
        assert not (output_dir / contents.STAGE).exists(), "stage.json belongs to the store"
        write_json(output_dir / contents.STAGE, record)


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Add what is logged during the block to ``path``, and there alone the traceback that ends it.

    The file takes every level that the loggers let through. Theirs are left as they are: turned up
    for all, libraries write requests and their headers into logs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _LogFile(path, encoding="utf-8")
    file.setLevel(logging.DEBUG)
    file.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(file)
    try:
        yield
    except BaseException as error:
        failure = (type(error), error, error.__traceback__)
        message = "ended by an exception"
        file.handle(root.makeRecord(__name__, logging.ERROR, __file__, 0, message, (), failure))
        raise
    finally:
        root.removeHandler(file)
        with contextlib.suppress(OSError):
            file.close()


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Say nothing: a disk too full for the log ends the work too, and that is told once."""

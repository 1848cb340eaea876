"""Prompt templates: text files with named fields in braces, filled in once.

The four prompts of the study are such files under ``assets/prompts``, word for word: they are its
instrument, and oddities of spelling and quoting are part of it. Text from seeds and from the
teacher is inserted and never looked at again, so an output that contains braces or ``{name}``
arrives unchanged. Braces around anything but a single word are text.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mini_lima.data.seeds import Task
from mini_lima.errors import UserError

FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Template:
    """A prompt with fields."""

    text: str

    def fill(self, fields: Mapping[str, str]) -> str:
        """Return the prompt with each of its fields replaced by the text of that name."""
        return FIELD.sub(lambda found: fields[found[1]], self.text)


def read_template(path: Path, *, fields: Collection[str], needs: Collection[str]) -> Template:
    """Read a template, whose last line break is the file's and not the prompt's.

    Args:
        path: A text file in UTF-8.
        fields: The names that can be filled in.
        needs: Those without which it would ask nothing in particular: all of them must occur.

    Raises:
        UserError: it cannot be read, has a field that nobody fills in, or lacks one.
    """
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}: a prompt must be a text in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: the prompt cannot be read: {error.strerror}") from None
    found = set(FIELD.findall(text))
    there_are = ", ".join(f"{{{name}}}" for name in sorted(fields))
    if unknown := sorted(found - set(fields)):
        raise UserError(
            f"{path}: {{{unknown[0]}}} is no field of this prompt; there are {there_are}"
        )
    if lacking := sorted(set(needs) - found):
        raise UserError(f"{path}: the prompt has no {{{lacking[0]}}}; there are {there_are}")
    return Template(text)


def pairs(tasks: Iterable[Task]) -> str:
    """The {name, instruction} pairs of ``tasks``, a JSON line each."""
    return "\n".join(map(pair, tasks))


def pair(task: Task) -> str:
    """The {name, instruction} pair of ``task`` as a JSON line."""
    return _json({"name": task.name, "instruction": task.instruction})


def whole(task: Task) -> str:
    """Name, instruction and instances of ``task`` as a JSON line."""
    instances = [{"input": each.input, "output": each.output} for each in task.instances]
    return _json({"name": task.name, "instruction": task.instruction, "instances": instances})


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False)

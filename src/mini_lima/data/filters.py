"""What of the teacher's writing is used: the filters, their switches, and what of a reply they leave.

A filter looks at one task, instance or rewriting and objects, under the name of its switch, or not.
They are rules that a reader can check, not models: each is meant to be right when it speaks, and to
miss rather than to accuse. All are on unless the configuration says otherwise. What is rejected is
kept in ``rejects.jsonl``, where it can be read before a switch is trusted.

Only what the teacher wrote is looked at: seed tasks are the person's own choice.

`new_tasks` and `new_instances` take what is used out of a reply, and return a `Reject` for all that
is not. Only the instances that prompt 2 shows, and asks to have returned, are passed over in
silence.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TypeVar

from mini_lima.chat import Reply
from mini_lima.data.examples import Reject
from mini_lima.data.parsing import Fault, Found, instances, pairs
from mini_lima.data.rouge import ALIKE, alike, rouge_l
from mini_lima.data.seeds import NEW_TASK, Instance, Task
from mini_lima.text.language import NAMES_A_LANGUAGE, is_foreign, language, languages

MEANING = {
    "wrong_number": "more instances than were asked for",
    "echo": "repeats the example of the prompt, an instance of a seed task, or another rewriting",
    "near_duplicate": f"ROUGE-L above {ALIKE} with the instruction of an earlier task",
    "cut_off": "cut off by the length limit",
    "refusal": "the teacher declines, or speaks of itself as a language model",
    "needs_file": "cannot be answered without an image, a recording or a file that is not there",
    "wrong_language": "in another language than the seed tasks, without being asked for it",
    "scaffold": "holds labels such as Input: or Output: that belong to the format",
    "not_longer": "no longer than the output that it was to lengthen",
}
"""What each reason code says, for people."""
MISSING = "instances missing"
"""How the note ends that says so of a reply."""
LONG_ENOUGH_TO_BE_AN_ECHO = 40
REFUSAL = re.compile(
    r"""\W*(?:
      (?:(?:i\s?'?a?m|we\s?'?a?re)\s+(?:\w+\s)?sorry|sorry|unfortunately|(?:my\s)?apologies
         |i\sapologi[sz]e)\b[^.!?\n]{0,80}?
    )?\b(?:i|we)(?:\s?'m|\sam|\sare)?\s(?:can\s?not|can't|won't|(?:un|not\s)able\sto|do\snot|don't)\s
    (?:\w+\s)?(?:help|assist|provide|generate|create|fulfil+|complete|answer|comply|access|see|view|
       open|process|browse|do\sthat|have\s(?:access|the\s(?:ability|capability)|personal))
    | [^\n]{0,200}?\bas\san?\s(?:ai|artificial\sintelligence|(?:large\s)?language)
       (?:\s(?:language\s)?(?:model|assistant)|,)""",
    re.IGNORECASE | re.VERBOSE,
)
MEDIUM = (
    r"(?:images?|pictures?|photos?|photographs?|screenshots?|videos?|clips?|audio|recordings?|"
    r"attachments?|files?|pdfs?|spreadsheets?|figures?|diagrams?)"
)
NEEDS_FILE = re.compile(
    rf"\b(?:attached|uploaded|accompanying)\s(?:\w+\s)?(?:{MEDIUM}|documents?|tables?|charts?)\b"
    rf"|\b(?:this|these|following|given|provided)\s(?:image|picture|photo|photograph|screenshot|"
    rf"video|audio|recording|attachment|pdf)s?\b"
    rf"|\b(?:in|from|of|at)\sthe\s(?:image|picture|photo|photograph|screenshot|video)s?\s"
    rf"(?:below|above|shown|provided|attached|given)\b",
    re.IGNORECASE,
)
STANDS_FOR_A_FILE = re.compile(
    rf"[\[<(](?:\w+\s)?{MEDIUM}(?:\s?\d+|\s(?:here|attached|goes\shere))?[\])>]"
    r"|\A\W*(?:https?://|[\w./-]*/)?[\w-]+\.(?:jpe?g|png|gif|bmp|webp|mp3|wav|mp4|mov)\W*\Z",
    re.IGNORECASE,
)
SCAFFOLD = re.compile(
    r"^[ \t*_]*(?:Input|Output|Output should be)[ \t*_]*:"
    r"|\A[\s*_]*(?:Instruction|Task name)[ \t*_]*:"
    r'|\A\s*\{\s*"(?:instruction|instances|input|output)"\s*:',
    re.MULTILINE,
)

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Filters:
    """Which filters look at new tasks and instances."""

    wrong_number: bool = True
    echo: bool = True
    near_duplicate: bool = True
    refusal: bool = True
    needs_file: bool = True
    wrong_language: bool = True
    scaffold: bool = True


@dataclass(frozen=True)
class RewritingFilters:
    """Which filters look at rewritten outputs."""

    echo: bool = True
    cut_off: bool = True
    refusal: bool = True
    wrong_language: bool = True
    scaffold: bool = True
    not_longer: bool = True


@dataclass(frozen=True)
class Objection:
    """Why something is not used: a reason code, and what in particular was found."""

    code: str
    detail: str = ""


@dataclass(frozen=True)
class TaskFilter:
    """The filters of `self_instruct`, and the seed tasks that they compare with."""

    filters: Filters
    seeds: Sequence[Task]

    def task(self, instruction: str, known: Iterable[str]) -> Objection | None:
        """Return why ``instruction`` is no new task beside those ``known``."""
        on = self.filters
        if on.scaffold and (label := SCAFFOLD.search(instruction)):
            return Objection("scaffold", label[0].strip())
        if on.needs_file and (what := NEEDS_FILE.search(instruction)):
            return Objection("needs_file", what[0])
        if on.wrong_language and _is_wrong(instruction, instruction, self._languages):
            return Objection("wrong_language", str(language(instruction)))
        if on.near_duplicate and (twin := alike(instruction, known)):
            return Objection("near_duplicate", f"of {twin!r}")
        return None

    def instance(self, instance: Instance, task: Task) -> Objection | None:
        """Return why ``instance`` should not be one of ``task``."""
        on = self.filters
        long_enough = instance.input or len(instance.output) >= LONG_ENOUGH_TO_BE_AN_ECHO
        if on.echo and long_enough and instance in self._instances:
            return Objection("echo", "instance of a seed task")
        if on.needs_file and (what := STANDS_FOR_A_FILE.search(instance.input)):
            return Objection("needs_file", what[0].strip())
        given = f"{task.instruction}\n{instance.input}"
        return _output_objection(
            instance.output,
            given,
            # A translation, or the correction of a Spanish text, is meant to be foreign.
            self._languages | languages([instance.input]),
            on,
        )

    @cached_property
    def _languages(self) -> frozenset[str]:
        return languages(task.instruction for task in self.seeds)

    @cached_property
    def _instances(self) -> frozenset[Instance]:
        return frozenset(each for task in self.seeds for each in task.instances)


def rewriting_objection(
    reply: Reply,
    *,
    before: str,
    given: str,
    example: Sequence[str],
    expected: frozenset[str],
    on: RewritingFilters,
    rewritten: Mapping[str, str],
) -> Objection | None:
    """Return why ``reply``, to prompt 4, should not take the place of ``before``.

    Args:
        reply: The rewriting.
        before: The output that it was to lengthen.
        given: Instruction and input.
        example: The two outputs of the example inside prompt 4.
        expected: Languages of the data set; that of ``given`` or ``before`` is right, too.
        on: Which filters are on.
        rewritten: The rewritings before this one, each with the output that it was made of.
    """
    output = reply.text.strip()
    if reply.error is not None:
        return Objection(f"no reply: {reply.error}", reply.detail or "")
    if not output:
        return Objection("empty reply")
    if on.cut_off and reply.finish_reason == "length":
        return Objection("cut_off")
    if on.echo and any(rouge_l(output, each) > ALIKE for each in example):
        return Objection("echo", "the example of the prompt")
    right = expected | languages([given, before])
    if no := _output_objection(output, f"{given}\n{before}", right, on):
        return no
    if on.not_longer and len(output) <= len(before):
        return Objection("not_longer", f"{len(output)} characters after {len(before)}")
    is_of_another = rewritten.get(output, before) != before
    if on.echo and is_of_another and len(output) >= LONG_ENOUGH_TO_BE_AN_ECHO:
        return Objection("echo", "the rewriting of another output")
    return None


def _output_objection(
    output: str, given: str, expected: frozenset[str], on: Filters | RewritingFilters
) -> Objection | None:
    if on.refusal and REFUSAL.match(output):
        return Objection("refusal")
    if on.scaffold and (label := SCAFFOLD.search(output)) and label[0].strip() not in given:
        return Objection("scaffold", label[0].strip())
    if on.wrong_language and _is_wrong(output, given, expected):
        return Objection("wrong_language", str(language(output)))
    return None


def _is_wrong(text: str, task: str, expected: frozenset[str]) -> bool:
    """Whether ``text`` is foreign, and ``task`` says nothing from which it should be."""
    return is_foreign(text, expected) and not NAMES_A_LANGUAGE.search(task)


def new_tasks(
    reply: Reply, *, task_filter: TaskFilter, earlier: Sequence[Task], wanted: int
) -> tuple[list[Task], list[Reject]]:
    """Return the tasks of a reply to prompt 1 that are not there yet.

    Args:
        reply: The reply to prompt 1.
        task_filter: The filters, and the seed tasks.
        earlier: New tasks of the replies before this one; ids number on from them.
        wanted: How many new tasks there shall be in all.
    """
    texts = [task.instruction for task in (*task_filter.seeds, *earlier)]
    known = set(map(_plain, texts))
    made: list[Task] = []
    found, faults = _read(reply, pairs)
    for name, instruction in found:
        if _plain(instruction) in known:
            faults.append(Fault("task exists already", instruction))
        elif len(earlier) + len(made) == wanted:
            faults.append(Fault("more tasks than wanted", instruction))
        elif no := task_filter.task(instruction, texts):
            faults.append(Fault(no.code, instruction, no.detail))
        else:
            known.add(_plain(instruction))
            texts.append(instruction)
            id = f"{NEW_TASK}{len(earlier) + len(made)}"
            made.append(Task(id, name, instruction, (), request=reply.request_key))
    return made, _rejects(faults, "prompt 1", None, reply)


def new_instances(
    reply: Reply,
    *,
    task: Task,
    wanted: int,
    prompt: str,
    task_filter: TaskFilter,
    example: Task | None = None,
) -> tuple[tuple[Instance, ...], list[Reject]]:
    """Return up to ``wanted`` instances of a reply to prompt 2 or 3 that ``task`` lacks.

    Args:
        reply: The reply to ``prompt``.
        task: What the instances were asked for.
        wanted: How many are to be used.
        prompt: Which one it was, for the rejects.
        task_filter: The filters, and the seed tasks.
        example: The task that prompt 3 shows; an echo of it is no instance of ``task``.
    """
    on = task_filter.filters
    fresh: list[Instance] = []
    found, faults = _read(reply, instances)
    for each in found:
        text = json.dumps(asdict(each.instance), ensure_ascii=False)
        if on.echo and example and _echoes(each, example, task):
            faults.append(Fault("echo", text, "instance of the example, not of the task"))
        elif each.instance in fresh:
            faults.append(Fault("instance occurs twice", text))
        elif each.instance in task.instances:
            pass
        elif on.wrong_number and len(fresh) == wanted:
            faults.append(Fault("wrong_number", text, f"more than {wanted}"))
        elif no := task_filter.instance(each.instance, task):
            faults.append(Fault(no.code, text, no.detail))
        else:
            fresh.append(each.instance)
    if len(fresh) < wanted:
        missing = f"{wanted - len(fresh)} of {wanted} {MISSING}"
        faults.append(Fault(missing, reply.text, is_note=True))
    return tuple(fresh), _rejects(faults, prompt, task.id, reply)


def _read(
    reply: Reply, parse: Callable[[str], tuple[list[Parsed], list[Fault]]]
) -> tuple[list[Parsed], list[Fault]]:
    if reply.error is not None:
        return [], [Fault(f"no reply: {reply.error}", "", reply.detail or "", is_note=True)]
    if not reply.text.strip():
        return [], [Fault("empty reply", reply.text)]
    return parse(reply.text)


def _echoes(found: Found, example: Task, task: Task) -> bool:
    """Whether the teacher, asked for ``task``, repeated or continued ``example`` instead."""
    copied = found.instance in example.instances
    if copied and (found.instance.input or not found.instruction):
        return True
    if found.instruction:
        said = _plain(found.instruction)
        return said == _plain(example.instruction) != _plain(task.instruction)
    return found.name == example.name != task.name


def _plain(instruction: str) -> str:
    return " ".join(instruction.casefold().split())


def _rejects(
    faults: Sequence[Fault], prompt: str, asked_for: str | None, reply: Reply
) -> list[Reject]:
    cut = bool(faults) and reply.finish_reason == "length"
    notes = [Fault("reply cut off", reply.text, is_note=True)] if cut else []
    return [
        Reject(
            reason=fault.reason,
            asked_for=asked_for,
            request=reply.request_key,
            text=fault.text,
            detail=fault.detail,
            is_note=fault.is_note,
            prompt=prompt,
        )
        for fault in (*faults, *notes)
    ]

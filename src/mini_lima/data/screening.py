"""What of the teacher's writing is not worth training on: the filters at work.

A filter looks at one task, instance or rewriting and objects, under the name of its switch, or not.
They are rules that a reader can check, not models: each is meant to be right when it speaks, and to
miss rather than to accuse. What is rejected is kept in ``rejects.jsonl``, where it can be read
before a switch is trusted.

Only what the teacher wrote is looked at: seed tasks are the person's own choice.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mini_lima.data.filters import Filters, RewritingFilters
from mini_lima.data.rouge import ALIKE, alike, rouge_l
from mini_lima.data.seeds import Instance, Task
from mini_lima.language import NAMES_A_LANGUAGE, is_foreign, language, languages

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


@dataclass(frozen=True)
class Objection:
    """Why something is not used: a reason code, and what in particular was found."""

    code: str
    detail: str = ""


@dataclass(frozen=True)
class Screen:
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
    output: str,
    *,
    before: str,
    given: str,
    example: Sequence[str],
    expected: frozenset[str],
    cut: bool,
    on: RewritingFilters,
) -> Objection | None:
    """Return why ``output``, a reply to prompt 4, should not take the place of ``before``.

    Args:
        output: The reply.
        before: The output that it was to lengthen.
        given: Instruction and input.
        example: The two outputs of the worked example inside prompt 4.
        expected: Languages of the data set; that of ``given`` or ``before`` is right, too.
        cut: Whether the length limit cut the reply off.
        on: Which filters are on.
    """
    if on.cut_off and cut:
        return Objection("cut_off")
    if on.echo and any(rouge_l(output, each) > ALIKE for each in example):
        return Objection("echo", "the worked example")
    right = expected | languages([given, before])
    if no := _output_objection(output, f"{given}\n{before}", right, on):
        return no
    if on.not_longer and len(output) <= len(before):
        return Objection("not_longer", f"{len(output)} characters after {len(before)}")
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

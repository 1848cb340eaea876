"""What has to be known to read the table: what it shows, what it cost, and what is wrong with it."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from mini_lima.errors import listed
from mini_lima.report.groups import groups_of
from mini_lima.results import BASELINE, CellRecord, Contrast, Cost, Found, Result

ABOUT_DIFFERENCES = (
    "Δ is the difference to the model's baseline, paired by instruction. cut: answers that ran into"
    " the length limit. failed: verdicts that could not be read. chars: mean length."
)
RANDOM_WEIGHTS = (
    "The embedded models start from random weights: these numbers prove that the machinery works"
    " and say nothing about Qwen or about the arms."
)
SEVERAL_SEEDS = (
    "Entries over several training seeds are the mean of their win rates; sd is the standard"
    " deviation between them, and the interval is about other instructions and other seeds. Two"
    " seeds have one difference, which is large or small by chance: take three or more."
)
ONE_SEED = (
    "{who}: how much another training seed would change is not known and in none of its intervals;"
    " seed=1,2,3 shows it."
)
CONTRASTS = (
    "Contrasts are paired by instruction and order; in brackets their bootstrap interval, wider"
    " by what several seeds show. By length alone: the same contrast if the longer answer always"
    " won. p: sign-flip test, seeds considered, corrected (Holm) for {family}. Could"
    " find: the smallest true difference that this design finds four times in five."
)
MOST_LEFT_OUT = 12


def notes_of(cells: Sequence[CellRecord], found: Found) -> Iterator[str]:
    """Yield the notes; none if no cell has a result."""
    results = [cell.result for cell in cells if cell.result is not None]
    if not results:
        return
    yield _what_is_shown(results)
    yield ABOUT_DIFFERENCES
    yield from _cost(costs_of(cells).values())
    # Cells of a model have its untuned answers in common: what is said of them is said once.
    yield from dict.fromkeys(
        f"Answers of {result.model}-{result.arm if which == 'sft' else BASELINE}:"
        f" {'; '.join(health.warnings)}."
        for result in results
        for which, health in result.health.items()
        if health.warnings
    )
    # Arms that begin with the same steps have these in common.
    yield from dict.fromkeys(f"Data of {each}." for r in results for each in r.data.shortfalls)
    yield from _contamination(results)
    yield from _within_warmup(cells)
    for cell in cells:
        if cell.not_tracked is not None:
            yield f"{cell.folder} is not in Weights & Biases: {cell.not_tracked}"
    trained = {len(group.finished) for group in groups_of(cells)} - {0}
    if max(trained) > 1:
        yield SEVERAL_SEEDS
    if min(trained) == 1:
        alone = len(trained) == 1
        yield ONE_SEED.format(
            who="Each model was trained once" if alone else "Where a model was trained once"
        )
    if any(cell.config["model"]["weights"] == "random" for cell in cells if cell.result):
        yield RANDOM_WEIGHTS
    if found.contrasts:
        yield CONTRASTS.format(family=_family(found.contrasts))
    yield from _left_out(found)


def costs_of(cells: Sequence[CellRecord]) -> dict[str, Cost]:
    """What the replies behind each stage cost; cells share stages."""
    return {name: cost for cell in cells for name, cost in cell.costs.items()}


def _what_is_shown(results: Sequence[Result]) -> str:
    first = [result.judges[0] for result in results if result.judges]
    confidence = " and ".join(f"{c:.0%}" for c in sorted({r.confidence for r in results}))
    interval = f"in brackets the {confidence} bootstrap interval over the instructions."
    if not first:
        return f"Nobody judges; {interval}"
    references = ", ".join(sorted({judge.sft.reference for judge in first}))
    judges = ", ".join(sorted({judge.name for judge in first}))
    return (
        f"Win rate in percent against {references}, judged by {judges}; {interval}"
        " n: verdicts, in both orders of the outputs unless annotator.orders says otherwise."
    )


def _cost(costs: Collection[Cost]) -> Iterator[str]:
    replies = sum(cost.replies for cost in costs)
    unpriced = sum(cost.unpriced for cost in costs)
    known = f"cost ${sum(cost.usd for cost in costs):.2f}"
    if 0 < unpriced < replies:
        known += f", not counting {unpriced} of unknown cost"
    elif unpriced:
        known = "have no known cost"
    if replies:
        yield f"The {replies} replies of teacher and annotator behind this table {known}."


def _contamination(results: Sequence[Result]) -> Iterator[str]:
    """How many evaluation instructions are in each arm's data."""
    by_arm = {r.arm: r.contamination for r in results if r.contamination is not None}
    hits = ", ".join(
        f"{arm} {len(found.instructions_hit)} of {found.instructions}"
        for arm, found in by_arm.items()
        if found.hits
    )
    clean = ", ".join(arm for arm, found in by_arm.items() if not found.hits)
    said = "Evaluation instructions that are, or nearly are, in the training data:"
    if hits:
        rest = f"; none of {clean}" if clean else ""
        again = "Contrasts that such an arm is in are made again without them: without hits."
        yield f"{said} {hits}{rest}. {again}"
    elif clean:
        yield f"{said} none."


def _within_warmup(cells: Sequence[CellRecord]) -> Iterator[str]:
    """Trainings that ended before their learning rate had risen."""
    names: dict[tuple[int, int], list[str]] = defaultdict(list)
    for cell in cells:
        warmup = (cell.config.get("scheduler") or {}).get("warmup_num_steps")
        steps = cell.result.training.steps if cell.result else None
        if isinstance(warmup, int) and steps is not None and steps <= warmup > 1:
            names[steps, warmup].append(f"{cell.model}-{cell.arm}")
    for (steps, warmup), trained in names.items():
        yield (
            f"{', '.join(listed(list(dict.fromkeys(trained)), 4))}: all {steps} optimizer steps lie"
            f" within the warm-up (scheduler.warmup_num_steps={warmup}), so the learning rate never"
            " reached optimizer.lr: give more data or epochs, or a shorter warm-up."
        )


def _family(contrasts: Sequence[Contrast]) -> str:
    sizes = {each.family for each in contrasts}
    if len(sizes) == 1:
        return f"the {min(sizes)} contrasts of a measure"
    return "the contrasts of its measure, whose number stands beside it"


def _left_out(found: Found) -> Iterator[str]:
    """Contrasts that could not be made, together where the reason is the same."""
    measures: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in found.left_out:
        measures[each.name, each.reason].append(each.measure)
    for (name, reason), of in [*measures.items()][:MOST_LEFT_OUT]:
        yield f"Not made: {name} ({', '.join(of)}): {reason}."
    if len(measures) > MOST_LEFT_OUT:
        more = len(measures) - MOST_LEFT_OUT
        yield f"… and {more} more contrasts were not made: report.json."

"""Many answers side by side, none of which waits for the longest.

transformers' own `generate` keeps a batch together until its last row ends: finished rows are
computed on, and their padding stays in the cache. Here a finished row leaves with its part of the
cache, a waiting prompt takes its place, and columns that no row needs any more are dropped.

    row 0      . . p p p p p a a a      p: prompt   a: answer   .: padding, never looked at
    row 1      p p p p p p p p p a      all rows end in the same column, so that the next token
    row 2      . . . . . . p p a a      of each is written into one new column

The longest prompts go first: what memory it takes is known at once, and a prompt that enters later
fits under the columns in use.

What attention keeps has, per layer, keys and values of the shape (rows, heads, columns,
dimensions), and beyond the common column room for the next ones: transformers' own layer copies all
that it has in order to append a column, which for long answers costs more than attending does.

What is written does not depend on who shares the batch, up to the rounding of the arithmetic.
Greedy answers are those of each prompt alone, and a sampled one is drawn by a generator of its own.
That is so for models whose layers keep the keys and values of attention and nothing else. Whether
one is such a model is tried on a few tokens; where it is not, transformers writes answer by answer.
"""

import random
from collections import deque
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.cache_utils import Cache, CacheLayerMixin

from mini_lima.errors import UserError
from mini_lima.workers.progress import warn

ROOM = 64
"""Columns that the room grows by."""

REFILL = 0.75
"""Prompts enter once the batch is down to this share: reading several in one pass is cheaper."""
PREFILL_TOKENS = 16_384
"""Of prompts that are read in one pass, padding included; bounds the memory which that takes."""
UNDERSTOOD = {"full_attention", "sliding_attention"}
"""Kinds of layers, as transformers names them: what others look back at shows in long texts only."""
TRIED = (16, 6, 3)
"""Tokens of the prompts that are tried together."""
IN_FLOAT32, ROUGH = 1e-3, 0.2
"""How far logits may be from those of a prompt alone, as a share of their deviation."""


class RowCache(Cache):
    """All layers of a model, which it fills while it reads and writes."""

    layers: list[Any]

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_Layer)

    def keep(self, rows: torch.Tensor, unused: int) -> None:
        """Keep ``rows`` (indices), without the first ``unused`` columns."""
        for layer in self.layers:
            layer.keep(rows, unused)

    def join(self, other: "RowCache") -> None:
        """Add the rows of ``other``, which are no longer, so that they end where these end."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            mine.join(theirs)


class _Layer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    is_sliding = False  # where the window of a sliding layer ends is said by its mask

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        pass

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys = _appended(self.keys, self.length, key_states)
        self.values = _appended(self.values, self.length, value_states)
        self.length += key_states.shape[2]
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def keep(self, rows: torch.Tensor, unused: int) -> None:
        assert self.keys is not None
        assert self.values is not None
        self.keys = self.keys[:, :, unused:].index_select(0, rows)
        self.values = self.values[:, :, unused:].index_select(0, rows)
        self.length -= unused

    def join(self, other: "_Layer") -> None:
        self.keys = _joined(self.keys, self.length, other.keys, other.length)
        self.values = _joined(self.values, self.length, other.values, other.length)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1  # there is none


def _appended(kept: torch.Tensor | None, length: int, new: torch.Tensor) -> torch.Tensor:
    """``kept`` with the columns of ``new`` behind its first ``length``."""
    end = length + new.shape[2]
    if kept is None or kept.shape[2] < end:
        rows, heads, _, dimensions = new.shape
        # Zeros: what is masked out must not be NaN all the same.
        larger = new.new_zeros(rows, heads, end + ROOM, dimensions)
        if kept is not None:
            larger[:, :, :length] = kept[:, :, :length]
        kept = larger
    kept[:, :, length:end] = new
    return kept


def _joined(
    mine: torch.Tensor | None, length: int, theirs: torch.Tensor | None, their_length: int
) -> torch.Tensor:
    assert mine is not None
    assert theirs is not None
    rows, heads, columns, dimensions = mine.shape
    both = mine.new_zeros(rows + len(theirs), heads, columns, dimensions)
    both[:rows] = mine
    both[rows:, :, length - their_length : length] = theirs[:, :, :their_length]
    return both


@dataclass(frozen=True)
class Prompt:
    """What is to be answered.

    Attributes:
        number: Tells it from the others.
        ids: Its tokens, at least one.
        limit: Tokens that its answer may have, at least one.
        seed: Of its chances; used only for sampling.
    """

    number: int
    ids: list[int]
    limit: int
    seed: str = ""


@dataclass(frozen=True)
class Generation:
    """The tokens of an answer without the one that ends it, and whether its limit cut it off."""

    number: int
    ids: list[int]
    cut: bool


def decode(
    network: Any,
    prompts: Sequence[Prompt],
    *,
    stops: Set[int],
    temperature: float,
    batch_size: int,
) -> Iterator[Generation]:
    """Answer ``prompts``; each answer is given away as soon as it is complete.

    Args:
        network: A causal language model of transformers', in evaluation mode.
        prompts: In any order.
        stops: Tokens that end an answer.
        temperature: 0 is greedy.
        batch_size: Answers that are written side by side.

    Raises:
        UserError: the model computes NaN.
    """
    if not prompts:
        return
    if fault := _difference(network, max((prompt.ids for prompt in prompts), key=len)):
        warn(f"{type(network).__name__}: answers are written one at a time, since {fault}")
        yield from _one_by_one(network, prompts, stops, temperature)
        return
    waiting = deque(sorted(prompts, key=lambda prompt: -len(prompt.ids)))
    batch = _Batch(network, stops, temperature)
    while waiting or batch.rows:
        if waiting and len(batch.rows) <= REFILL * batch_size:
            most = max(PREFILL_TOKENS // len(waiting[0].ids), 1)
            entering = min(len(waiting), batch_size - len(batch.rows), most)
            batch.enter([waiting.popleft() for _ in range(entering)])
        else:
            batch.write_a_token()
        yield from batch.leave()


def _difference(network: Any, longest: list[int]) -> str | None:
    """Why answers in a batch are not what they are alone; None if they are.

    The beginnings of the ``longest`` prompt are tried. One enters later and each leaves before the
    next, so that all is done that a batch may do.
    """
    kinds = set(getattr(network.config.get_text_config(decoder=True), "layer_types", None) or ())
    if not kinds <= UNDERSTOOD:
        return f"it has layers of another kind ({', '.join(sorted(kinds - UNDERSTOOD))})"
    first, second, third = (Prompt(0, longest[:-1][:n] or longest, 2 * n) for n in TRIED)
    batch, distances = _Batch(network, frozenset(), 0.0), []
    try:
        batch.enter([first, second])
        batch.write_a_token()
        batch.enter([third])
        for row in list(batch.rows):
            batch.write_a_token()
            distances.append(_distance(network, row, batch.logits[batch.rows.index(row)]))
            row.ended = True
            list(batch.leave())
    except (torch.OutOfMemoryError, UserError):
        raise
    except Exception as error:  # what an architecture does with a cache is up to its author
        return f"it takes no cache of ours ({(str(error).strip() or repr(error)).splitlines()[0]})"
    most = IN_FLOAT32 if network.dtype is torch.float32 else ROUGH
    return None if max(distances) <= most else f"a batch changes them (by {max(distances):.1%})"


def _distance(network: Any, row: "_Row", logits: torch.Tensor) -> float:
    """How far ``logits``, of the last token of ``row``, are from those of its text alone."""
    text = torch.tensor([row.prompt.ids + row.ids[:-1]], device=network.device)
    with torch.inference_mode():
        alone = network(input_ids=text, use_cache=False).logits[0, -1].float()
    return float((logits.float() - alone).norm() / (alone - alone.mean()).norm())


def _one_by_one(
    network: Any, prompts: Sequence[Prompt], stops: Set[int], temperature: float
) -> Iterator[Generation]:
    # Or settings that come with the model would count.
    network.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    for prompt in prompts:
        row = _Row(prompt, _chances(prompt, network.device))

        def choose(ids: torch.Tensor, logits: torch.Tensor, row: _Row = row) -> torch.Tensor:
            [token] = _chosen(logits, [row], temperature)
            row.take(token, stops)
            only = torch.full_like(logits, -torch.inf)
            only[0, token] = 0
            return only

        ids = torch.tensor([prompt.ids], device=network.device)
        network.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            logits_processor=[choose],
            max_new_tokens=prompt.limit,
            eos_token_id=sorted(stops),
            pad_token_id=0,
            do_sample=False,
        )
        yield row.generation()


@dataclass
class _Row:
    prompt: Prompt
    chances: torch.Generator
    ids: list[int] = field(default_factory=list)
    ended: bool = False

    @property
    def is_finished(self) -> bool:
        return self.ended or len(self.ids) == self.prompt.limit

    def take(self, token: int, stops: Set[int]) -> None:
        if token in stops:
            self.ended = True
        else:
            self.ids.append(token)

    def generation(self) -> Generation:
        return Generation(self.prompt.number, self.ids, cut=not self.ended)


class _Batch:
    """The answers in the making; ``first`` holds the column in which each row's prompt begins.

    ``logits``, of shape (rows, vocabulary), are those that the last tokens were chosen by.
    """

    def __init__(self, network: Any, stops: Set[int], temperature: float) -> None:
        self.network, self.stops, self.temperature = network, stops, temperature
        self.rows: list[_Row] = []
        self.first = torch.empty(0, dtype=torch.long)
        self.logits = torch.empty(0, 0)
        self.cache = RowCache()

    def enter(self, prompts: Sequence[Prompt]) -> None:
        """Read ``prompts`` in one pass and write the first token of each of their answers."""
        device, width = self.network.device, max(len(prompt.ids) for prompt in prompts)
        padded = [[0] * (width - len(prompt.ids)) + prompt.ids for prompt in prompts]
        first = torch.tensor([width - len(prompt.ids) for prompt in prompts], device=device)
        rows, cache = [_Row(prompt, _chances(prompt, device)) for prompt in prompts], RowCache()
        self._write(rows, torch.tensor(padded, device=device), first, cache)
        if self.rows:
            columns = self.cache.get_seq_length()
            assert width <= columns, "prompts must enter in the order of their lengths"
            self.cache.join(cache)
            self.first = torch.cat([self.first, first + (columns - width)])
        else:
            self.cache, self.first = cache, first
        self.rows += rows

    def write_a_token(self) -> None:
        """Write one more token of every row."""
        last = torch.tensor([row.ids[-1:] for row in self.rows], device=self.network.device)
        self._write(self.rows, last, self.first, self.cache)

    def leave(self) -> Iterator[Generation]:
        """Take out the finished rows, and the columns that only they used."""
        finished = [row for row in self.rows if row.is_finished]
        stay = [at for at, row in enumerate(self.rows) if not row.is_finished]
        if finished and stay:
            at = torch.tensor(stay, device=self.network.device)
            unused = int(self.first[at].min())
            self.first = self.first[at] - unused
            self.cache.keep(at, unused)
        self.rows = [self.rows[at] for at in stay]
        for row in finished:
            yield row.generation()

    def _write(
        self, rows: Sequence[_Row], ids: torch.Tensor, first: torch.Tensor, cache: RowCache
    ) -> None:
        """Read ``ids`` (rows, new columns) and write the token that follows."""
        seen = cache.get_seq_length()
        columns = torch.arange(seen + ids.shape[1], device=ids.device)
        with torch.inference_mode():
            self.logits = self.network(
                input_ids=ids,
                attention_mask=columns >= first[:, None],
                position_ids=(columns[seen:] - first[:, None]).clamp(min=0),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,  # those of all positions of long prompts would be gigabytes
            ).logits[:, -1]
            for row, token in zip(rows, _chosen(self.logits, rows, self.temperature), strict=True):
                row.take(token, self.stops)


def _chances(prompt: Prompt, device: torch.device) -> torch.Generator:
    # Of a text Python makes the same number on every machine.
    return torch.Generator(device).manual_seed(random.Random(prompt.seed).getrandbits(63))


def _chosen(logits: torch.Tensor, rows: Sequence[_Row], temperature: float) -> list[int]:
    """The next token of each of the ``rows``."""
    if logits.isnan().any():
        raise UserError(
            "the model computes NaN: its training diverged (look at its loss), or its numbers"
            " need a wider format (sft.precision=fp32)"
        )
    if temperature:
        return _sampled(logits, temperature, [row.chances for row in rows]).tolist()
    return logits.argmax(dim=-1).tolist()


def _sampled(
    logits: torch.Tensor, temperature: float, chances: Sequence[torch.Generator]
) -> torch.Tensor:
    """For each row a token drawn by the row's own generator.

    The token that comes first in a race in which each runs for an exponential time at the rate of
    its probability. Inversion of the distribution function would need a single number per token,
    but with a large vocabulary its steps lie so close together that the rounding of sums decides.
    """
    rates = (logits.double() / temperature).softmax(dim=-1)
    times = torch.empty_like(rates)
    for row, generator in zip(times, chances, strict=True):
        row.exponential_(generator=generator)
    return (rates / times).argmax(dim=-1)

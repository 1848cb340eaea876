"""Batches, from the submission to the last answer, whoever submitted them: OpenAI's interface.

Requests go out in one file, answers come back in another, and ``custom_id`` is the request's key. A
batch is written down (`batch_table`) before anything is sent, so the process that polls one need
not be the one that made it, and each step before the next is done: a process that is killed between
two of them leaves nothing that could be lost or sent again. One call is not harmless to repeat: a
batch that was asked for over a connection which then broke may be there, and is paid for. So a
batch carries our tag in its metadata, and before it is asked for again the endpoint's own list is
searched for it.

What a batch leaves open, be it an error in a line, the end of its day or a line that is missing or
cannot be read, is free again afterwards, to be asked live; a reply that came and is no answer is a
failed request, as it is live. Two things are not the end: a parameter
that the model refuses is learnt, and the requests go into another batch without it; and a batch for
which there is no room beside others of ours waits for those.

The process that takes in the answers of a batch pays for it. Until then the batch is set aside from
the budget at its high estimate: it cannot be stopped half-way without being billed for half. When
the endpoint cannot be reached for as long as a request would be retried, the run ends, and the next
one takes the batch up where it is.
"""

import contextlib
import itertools
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, Final, TypeVar

from pydantic import BaseModel, Field, ValidationError

from mini_lima.chat.batch_table import Batch, Line
from mini_lima.chat.endpoint import ChatMode
from mini_lima.chat.faults import Fault, Meaning, hopeless_text, refused_parameter
from mini_lima.chat.ledger import Charge, count
from mini_lima.chat.prices import estimate, reported
from mini_lima.chat.replies import (
    NO_COMPLETION,
    Reply,
    UnreadableError,
    error_in,
    parse,
    read_reply,
)
from mini_lima.chat.requests import METHOD, URL, ChatRequest, canonical_json
from mini_lima.chat.wire import Wire
from mini_lima.chat.work import Work, changed
from mini_lima.errors import UserError

log = logging.getLogger(__name__)

TAG = "mini_lima"
"""In the metadata of our batches, for our name of them."""
WHAT = "the batch interface"
WINDOW: Final = "24h"
DAY = 86_400.0
"""Seconds in which a batch ends."""
ENDED = ("completed", "failed", "expired", "cancelled")
MOST_PER_PAGE = 100
NOT_THERE = (404, 405, 501)
DOUBLINGS = 5
"""Of the first pause between two looks, until it is the longest."""
NO_ROOM = "token_limit_exceeded"
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
EXPIRED, FAILED, MISSING = "batch_expired", "batch_error", "batch_missing"
Told = TypeVar("Told", bound=BaseModel)
Outcome = tuple[str, str] | None
"""A reason code and words for people; None where nothing is left to ask."""


class _Counts(BaseModel):
    total: int = 0
    completed: int = 0
    failed: int = 0


class _Error(BaseModel):
    code: str | None = None
    message: str | None = None
    line: int | None = None

    @property
    def text(self) -> str:
        place = "" if self.line is None else f"line {self.line}: "
        return f"{place}{self.message or self.code}"


class _Errors(BaseModel):
    data: list[_Error] = []


class _Named(BaseModel):
    """What the interface has made, a file or a batch."""

    id: str = Field(min_length=1)


class State(_Named):
    """How a batch stands, as the endpoint says it."""

    status: str | None = None
    created_at: float | None = None
    metadata: dict[str, Any] | None = None
    request_counts: _Counts | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: _Errors | None = None

    @property
    def done(self) -> int:
        """Requests that have an outcome, be it an error."""
        counts = self.request_counts or _Counts()
        return counts.completed + counts.failed

    @property
    def total(self) -> int:
        """Requests that it has; 0 before they are counted."""
        return (self.request_counts or _Counts()).total

    @property
    def files(self) -> list[str]:
        """Ids of what it wrote: its output, its errors, both or neither."""
        return [file for file in (self.output_file_id, self.error_file_id) if file]


class _Page(BaseModel):
    data: list[State] = []
    has_more: bool = False


def _read(content: bytes, kind: type[Told]) -> Told:
    """What the interface answers; raises as `read_reply`."""
    document = parse(content.decode("utf-8-sig", "replace"))
    try:
        return kind.model_validate(document)
    except ValidationError:
        told = document.get("error") if isinstance(document, dict) else None
        raise error_in(told, f"not of the batch interface: {canonical_json(document)}") from None


@dataclass
class _Polled:
    batch: Batch
    wanted: int  # requests of it that are asked for here
    charge: Charge
    looks: int = 0
    due: float = 0.0
    status: str | None = None
    shown: int = 0


class Batches:
    """The batches that one call of `complete` polls."""

    def __init__(self, wire: Wire, work: Work) -> None:
        """Poll none yet."""
        self._wire, self._work = wire, work
        self._endpoint, self._table = work.endpoint, work.cache.batches
        self._polled: dict[str, _Polled] = {}

    async def submit(self, requests: Sequence[ChatRequest]) -> None:
        """Put ``requests``, whose claims are ours, into as many batches as they take.

        Raises:
            UserError: they do not fit into the budget, or the endpoint does not take them.
            ConnectionError: it is out of reach.
        """
        high = estimate(requests, self._work.prices, batch=True).usd_high
        if not self._work.budget.fits(high or 0.0):
            raise self._work.out_of_money("batch")
        lines = (self._line(request) for request in requests)
        for part in in_parts(lines, lambda line: len(_bytes(line))):
            batch = await self._create(part)
            self._begin(batch, wanted=batch.size)
            self._work.ledger.sent += batch.size
            log.info(
                "%s: submitted %d requests as %s; the run may be stopped, the batch goes on",
                *(self._work.label, batch.size, batch.id),
            )

    def _line(self, request: ChatRequest) -> Line:
        _, changes = self._work.adapted(request)
        return Line(request, {"batch": True} | ({"adapted": changes} if changes else {}))

    async def _create(self, lines: Sequence[Line]) -> Batch:
        client, batch = self._wire.client, self._table.open(lines)
        with tempfile.TemporaryFile() as file:
            file.writelines(_bytes(line) for line in lines)

            async def upload() -> str:
                file.seek(0)
                named = (f"mini-lima-{batch.tag}.jsonl", file, "application/jsonl")
                answer = await client.files.with_raw_response.create(file=named, purpose="batch")
                return _read(answer.content, _Named).id

            input_file = await self._wire.persist(upload, WHAT)
        if isinstance(input_file, Fault):
            if not _may_pass(input_file):
                self._table.forget(batch)
            raise self._failure(input_file)
        batch = self._table.note(batch, input_file=input_file, begun_at=time.time())
        tries = 0

        async def create() -> str:
            nonlocal tries
            tries += 1
            if tries > 1 and (found := await self._listed(batch)) is not None:
                return found.id
            answer = await client.batches.with_raw_response.create(
                input_file_id=str(input_file),
                endpoint=URL,
                completion_window=WINDOW,
                metadata={TAG: batch.tag},
            )
            return _read(answer.content, _Named).id

        id_ = await self._wire.persist(create, WHAT)
        if isinstance(id_, Fault):
            if tries == 1 and not (_may_pass(id_) or id_.may_be_billed):  # else it may be there
                self._table.forget(batch)
            raise self._failure(id_)
        return self._table.note(batch, id=id_)

    async def _listed(self, batch: Batch) -> State | None:
        """``batch`` as the endpoint's list has it, None if it is not there."""
        after: dict[str, Any] = {}
        while True:
            batches = self._wire.client.batches.with_raw_response
            answer = await batches.list(limit=MOST_PER_PAGE, **after)
            page = _read(answer.content, _Page)
            for each in page.data:
                if (each.metadata or {}).get(TAG) == batch.tag:
                    return each
            # The newest come first; a day is more than any two clocks differ.
            oldest = page.data[-1].created_at if page.data else None
            is_too_old = oldest is not None and oldest < batch.begun_at - DAY
            if not page.data or is_too_old or not page.has_more:
                return None
            after = {"after": page.data[-1].id}

    async def poll(self, request_keys: Collection[str]) -> float | None:
        """Look at the open batches with any of ``request_keys`` that no other process polls.

        Returns:
            Seconds until the next look is due; None if there is none to be polled.

        Raises:
            UserError: a batch was refused as a whole, or the endpoint does not know it.
            ConnectionError: the endpoint is out of reach.
        """
        for tag, wanted in self._table.holding(request_keys).items():
            if tag not in self._polled and (batch := self._table.adopt(tag)) is not None:
                self._begin(batch, wanted=wanted)
        for polled in list(self._polled.values()):
            if polled.due <= time.monotonic():
                await self._look(polled)
        dues = [polled.due for polled in self._polled.values()]
        return max(min(dues) - time.monotonic(), 0.0) if dues else None

    def _begin(self, batch: Batch, *, wanted: int) -> None:
        requests = (line.request for line in self._table.unanswered(batch))
        high = estimate(requests, self._work.prices, batch=True).usd_high
        charge = self._work.budget.set_aside(high or 0.0)
        self._polled[batch.tag] = _Polled(batch, wanted, charge)

    async def _look(self, polled: _Polled) -> None:
        batch, state = polled.batch, None
        if batch.id is not None:
            batches, id_ = self._wire.client.batches.with_raw_response, batch.id

            async def retrieve() -> State:
                return _read((await batches.retrieve(id_)).content, State)

            state = await self._wire.persist(retrieve, WHAT)
        elif batch.input_file is not None:
            state = await self._wire.persist(lambda: self._listed(batch), WHAT)
        if isinstance(state, Fault):
            self._unknown(polled, state)
            return
        if state is None:
            if batch.input_file is None or time.time() > batch.begun_at + self._endpoint.timeout:
                self._drop(polled)  # who wanted to submit it was stopped before
                return
        else:
            if batch.id is None:
                polled.batch = self._table.note(batch, id=state.id)
            if state.status in ENDED:
                await self._end(polled, state)
                return
            self._show(polled, state)
        pause = self._endpoint.batch_poll * 2.0 ** min(polled.looks - DOUBLINGS, 0)
        polled.looks += 1
        polled.due = time.monotonic() + pause

    def _show(self, polled: _Polled, state: State) -> None:
        if state.status != polled.status:
            counts = (state.done, state.total or polled.batch.size)
            log.info(
                "%s: %s is %s, %d of %d done", self._work.label, state.id, state.status, *counts
            )
            polled.status = state.status
        shown = polled.wanted * state.done // max(state.total, state.done, 1)
        self._work.bar.advance(shown - polled.shown)
        polled.shown = shown

    async def _end(self, polled: _Polled, state: State) -> None:
        batch, outcomes = polled.batch, dict[str, Outcome]()
        if state.status == "failed" and not state.files:
            self._refused(polled, state)
            return
        with contextlib.ExitStack() as opened:  # all of it is here before any of it is counted
            outputs = [opened.enter_context(tempfile.TemporaryFile()) for _ in state.files]
            for file_id, output in zip(state.files, outputs, strict=True):
                outcome = await self._wire.persist(partial(self._download, file_id, output), WHAT)
                if isinstance(outcome, Fault):
                    self._unknown(polled, outcome)
                    return
            lines = itertools.chain.from_iterable(outputs)
            usd = sum(self._take_in(line, batch, outcomes) for line in lines)
        left = [
            outcomes.get(line.request.key) or (MISSING, "no line that can be read")
            for line in self._table.unanswered(batch)
        ]
        polled.charge.settle(usd)
        self._table.ended(batch, str(state.status))
        self._leave(polled)
        for code, _ in left:
            count(self._work.ledger.retries, code)
        log.info("%s: %s is %s", self._work.label, batch.id, state.status)
        if left:
            reasons = Counter(reason for _, reason in left).most_common(3)
            log.warning(
                "%s: %d of %d requests came back from %s without an answer (%s) and are asked live",
                *(self._work.label, len(left), batch.size, batch.id),
                self._wire.cleaned(", ".join(f"{n} × {why}" for why, n in reasons)),
            )
        if error := self._work.billed_too_much():
            raise error

    async def _download(self, file_id: str, into: IO[bytes]) -> None:
        """Write the contents of ``file_id`` to ``into``, and go back to its beginning."""
        into.seek(0)
        into.truncate()
        files = self._wire.client.files.with_streaming_response
        async with files.content(file_id) as response:
            async for part in response.iter_bytes():
                into.write(part)
        into.seek(0)

    def _take_in(self, raw: bytes, batch: Batch, outcomes: dict[str, Outcome]) -> float:
        """Take in one line of what ``batch`` brought; the dollars that it did cost.

        Lines come in any order, perhaps twice, and may be of a batch that another process made.
        What answers no request of the batch, or cannot be read, is no loss: its request is missing
        then.

        Args:
            raw: The line.
            batch: Whose it is.
            outcomes: Is added to, by the request's key: None for what came and need not be asked
                again, else why it must be.
        """
        text = self._wire.redacted(raw.decode("utf-8", "replace"))
        try:
            row = self._wire.redacted(parse(text))
            key = str(row["custom_id"])
        except (ValueError, LookupError, TypeError):
            return 0.0
        if key in outcomes and outcomes[key] is None:
            return 0.0
        line = self._table.line(batch, key)
        response, error = row.get("response"), row.get("error")
        body = response.get("body") if isinstance(response, dict) else None
        status = response.get("status_code") if isinstance(response, dict) else None
        if error is not None or status != 200:
            # OpenAI puts a refused request's error into the body, vLLM and expired ones beside it.
            told = error or (body.get("error") if isinstance(body, dict) else None) or body
            if line is not None:
                outcomes[key] = self._outcome(line, status, told)
            return 0.0
        try:
            reply = read_reply(key, body, cached=False)
        except UnreadableError as unread:
            reply = Reply(key, "", error=NO_COMPLETION, detail=self._wire.cleaned(str(unread)))
        except ValueError as unread:
            if line is not None:
                outcomes[key] = self._outcome(line, status, str(unread))
            return 0.0
        outcomes[key] = None
        prices, tokens = self._work.prices, reported(reply.usage)
        self._work.ledger.spent.add(tokens, prices, batch=True)
        if line is not None and reply.error is None:
            self._work.keep(line.request, body, reply, **line.made)
        elif line is not None:
            self._work.cache.keep_failure(line.request, reply, text)
            self._table.free(line.request)
            if key in self._work.open:
                self._work.fail(line.request, reply)
        if prices is None:
            return 0.0
        most = 0.0 if line is None else prices.most(line.request, batch=True)
        usd = prices.cost(tokens, batch=True) if tokens else most
        usd = usd if tokens and tokens.input else max(usd, most)
        self._work.ledger.count_excess(usd, most)
        return usd

    def _outcome(self, line: Line, status: Any, told: Any) -> Outcome:
        """Why ``line`` has no answer; None if its request may stand in another batch."""
        details = told if isinstance(told, dict) else {}
        said = " ".join(str(details.get("message", told)).split())
        code, parameter = details.get("code"), details.get("param")
        refused = refused_parameter(status, code, parameter, said)
        if refused and self._work.learn(refused, _sent_body(line), line.request):
            self._table.free(line.request)
            return None
        return (
            EXPIRED if code == EXPIRED else FAILED,
            f"status {status}: {said}" if status else said,
        )

    def _refused(self, polled: _Polled, state: State) -> None:
        self._drop(polled)
        size, errors = polled.batch.size, state.errors.data if state.errors else []
        reasons = "; ".join(self._wire.cleaned(error.text) for error in errors[:3])
        takes_batches = self._endpoint.mode == ChatMode.batch
        may_fit_later = any(error.code == NO_ROOM for error in errors) and self._polled
        if takes_batches and not may_fit_later:
            raise UserError(
                f"endpoint {self._endpoint.name!r} refused the batch of {size} requests "
                f"({reasons or 'it does not say why'}): put that right, or choose mode=live; "
                "nothing of it was paid for"
            )
        then = "wait for room beside those that are open" if takes_batches else "are asked live"
        log.warning(
            "%s: a batch was refused (%s): its %d requests %s",
            *(self._work.label, reasons, size, then),
        )

    def _unknown(self, polled: _Polled, fault: Fault) -> None:
        """Count a batch as lost that the endpoint does not know, unless it may only seem so."""
        if fault.status not in NOT_THERE:
            raise self._failure(fault)
        batch, ledger = polled.batch, self._work.ledger
        end = batch.begun_at + DAY
        if self._endpoint.api_key_env is not None and time.time() < end:
            begun_on, given_up = (
                time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (batch.begun_at, end)
            )
            raise UserError(
                f"endpoint {self._endpoint.name!r} does not know the batch with {batch.size} "
                f"requests that was submitted to it on {begun_on}: use the base_url and the key of "
                f"the account it belongs to; from {given_up} on it is given up, and its requests "
                "are asked again"
            )
        log.warning(
            "%s: the endpoint does not know %s any more (%s): its %d requests are asked live",
            self._work.label,
            *(batch.id or "a batch that it may have been given", fault.text, batch.size),
        )
        ledger.lost += batch.size
        ledger.lost_usd += polled.charge.usd
        self._table.ended(batch, "unknown")
        self._leave(polled)

    def _drop(self, polled: _Polled) -> None:
        """Free the requests of a batch that is not there."""
        polled.charge.settle(0.0)
        self._table.forget(polled.batch)
        self._leave(polled)

    def _leave(self, polled: _Polled) -> None:
        self._work.budget.count(polled.charge)
        self._work.bar.advance(-polled.shown)
        del self._polled[polled.batch.tag]

    def close(self) -> None:
        """Leave what is still open to whoever comes next."""
        for polled in self._polled.values():
            self._work.budget.count(polled.charge)

    def _failure(self, fault: Fault) -> Exception:
        """What to raise where the interface does not do what it was asked."""
        name = self._endpoint.name
        if fault.status in NOT_THERE:
            return UserError(
                f"endpoint {name!r}: this endpoint has no batch interface ({fault.text}): choose "
                "mode=live"
            )
        if fault.meaning is Meaning.hopeless:
            return UserError(hopeless_text(self._endpoint, fault))
        if fault.is_own:
            return UserError(
                f"endpoint {name!r} does not take the batch ({fault.text}): put right what it "
                "names, or choose mode=live"
            )
        return ConnectionError(
            f"endpoint {name!r}: the batch interface is out of reach ({fault.text}); batches that "
            "were submitted go on there and are kept account of: run the same command again"
        )


def in_parts(
    lines: Iterable[Line],
    size: Callable[[Line], int],
    *,
    most_requests: int = MOST_REQUESTS,
    most_bytes: int = MOST_BYTES,
) -> Iterator[list[Line]]:
    """Divide ``lines`` into batches: of one model each, as OpenAI wants it, and within its limits.

    Args:
        lines: In the order in which they are to be.
        size: Gives the bytes that a line takes.
        most_requests: In one batch.
        most_bytes: In one batch; a line that is larger by itself stands alone, to be refused.
    """
    begun: dict[str, tuple[list[Line], int]] = {}
    for line in lines:
        model, more = line.request.model, size(line)
        part, used = begun.pop(model, ([], 0))
        if part and (len(part) == most_requests or used + more > most_bytes):
            yield part
            part, used = [], 0
        part.append(line)
        begun[model] = part, used + more
    for part, _ in begun.values():
        yield part


def _sent_body(line: Line) -> dict[str, Any]:
    """The body of the request in ``line`` as its batch sends it."""
    return changed(line.request.body, line.made.get("adapted", {}))


def _bytes(line: Line) -> bytes:
    sent = {"custom_id": line.request.key, "method": METHOD, "url": URL, "body": _sent_body(line)}
    return canonical_json(sent).encode() + b"\n"


def _may_pass(fault: Fault) -> bool:
    return fault.meaning is Meaning.passes and fault.status not in NOT_THERE

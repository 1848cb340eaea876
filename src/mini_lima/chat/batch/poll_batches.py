"""Batches, from the submission to the last answer, whoever submitted them.

A batch is written down (`batch_table`) before anything is sent, so the process that follows one
need not be the one that made it. What a batch leaves open, be it an error in a line, the end of its
day or a line that is missing, is free again afterwards, to be asked live. Two things are not the
end: a parameter that the model refuses is learnt, and the requests go into another batch without
it; and a batch for which there is no room beside others of ours waits for those.

The process that takes in the answers of a batch pays for it. Until then the batch is set aside from
the budget at its high estimate: it cannot be stopped half-way without being billed for half.

Lines of an output come in any order and may be of a batch that another process made. What answers
no request of the batch, or cannot be read, is no loss: its request is missing then, and missing
ones are told.
"""

import contextlib
import functools
import itertools
import json
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mini_lima.chat.adaptation import adapted, changed, learn, refused_parameter
from mini_lima.chat.batch.batch_table import Batch, BatchTable, Line
from mini_lima.chat.batch.files import (
    DAY,
    NoAnswerError,
    RefusedError,
    State,
    UnknownError,
    answer,
    input_line,
)
from mini_lima.chat.budget import Account, Charge
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.ledger import count
from mini_lima.chat.prices import estimate
from mini_lima.chat.requests import ChatRequest
from mini_lima.chat.tokens import reported
from mini_lima.errors import UserError
from mini_lima.progress import Bar

if TYPE_CHECKING:
    from mini_lima.chat.batch.service import BatchService

log = logging.getLogger(__name__)

DOUBLINGS = 5
"""Of the first pause between two looks, until it is the longest."""
NO_ROOM = "token_limit_exceeded"
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
EXPIRED, FAILED, MISSING = "batch_expired", "batch_error", "batch_missing"

Keep = Callable[[ChatRequest, Any, Mapping[str, Any]], None]


@dataclass
class _Followed:
    batch: Batch
    wanted: int  # requests of it that are asked for here
    charge: Charge
    looks: int = 0
    due: float = 0.0
    status: str = ""
    shown: int = 0


class Batches:
    """The batches that one call of `complete` follows."""

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        account: Account,
        table: BatchTable,
        keep: Keep,
        bar: Bar,
        label: str,
    ) -> None:
        """Follow none yet.

        Args:
            endpoint: Who works on the batches.
            account: Is charged with the answers.
            table: Says which batches there are.
            keep: Takes the answers.
            bar: Is moved as an endpoint tells how far it is; what it is moved by is taken back when
                the answers come, which are counted by whoever waits for them.
            label: Names the work.
        """
        self._endpoint, self._account = endpoint, account
        self._table, self._keep = table, keep
        self._bar, self._label = bar, label
        self._followed: dict[str, _Followed] = {}

    @functools.cached_property
    def _service(self) -> "BatchService":
        from mini_lima.chat.batch.service import BatchService

        return BatchService(self._endpoint)

    def submit(self, requests: Sequence[ChatRequest]) -> None:
        """Put ``requests``, whose claims are ours, into as many batches as they take.

        Raises:
            UserError: the endpoint takes no batches, or not these.
            ConnectionError: it is out of reach.
        """
        for batch in _submitted(
            requests, endpoint=self._endpoint, service=self._service, table=self._table
        ):
            self._follow(batch, wanted=batch.size)
            self._account.ledger.sent += batch.size
            log.info(
                "%s: submitted %d requests as %s; the run may be stopped, the batch goes on",
                *(self._label, batch.size, batch.id),
            )

    def follow(self, requests: Sequence[ChatRequest]) -> float | None:
        """Look at the open batches with any of ``requests`` that no other process follows.

        Returns:
            Seconds until the next look is due; None if there is none to be followed.

        Raises:
            UserError: a batch was refused as a whole, or the endpoint does not know it.
            ConnectionError: the endpoint is out of reach.
        """
        for tag, wanted in self._table.holding(requests).items():
            if tag not in self._followed and (batch := self._table.adopt(tag)) is not None:
                self._follow(batch, wanted=wanted)
        for followed in list(self._followed.values()):
            if followed.due <= time.monotonic():
                self._look(followed)
        dues = [followed.due for followed in self._followed.values()]
        return max(min(dues) - time.monotonic(), 0.0) if dues else None

    def _look(self, followed: _Followed) -> None:
        try:
            state = self._state(followed)
            if state is not None and state.has_ended:
                self._end(followed, state)
                return
        except UnknownError as error:
            self._give_up(followed, str(error))
            return
        if state is not None:
            self._show(followed, state)
        longest = self._endpoint.batch_poll
        pause = longest * 2.0 ** min(followed.looks - DOUBLINGS, 0)
        followed.looks += 1
        followed.due = time.monotonic() + pause

    def _follow(self, batch: Batch, *, wanted: int) -> None:
        requests = (line.request for line in self._table.unanswered(batch))
        high = estimate(requests, self._account.prices, batch=True).usd_high
        charge = self._account.budget.set_aside(high or 0.0)
        self._followed[batch.tag] = _Followed(batch, wanted, charge)

    def _state(self, followed: _Followed) -> State | None:
        """How the batch stands; None as long as it is not known to be there."""
        batch = followed.batch
        if batch.id is not None:
            return self._service.state(batch.id)
        state = None if batch.input_file is None else self._service.find(batch.tag, batch.begun_at)
        if state is not None:
            followed.batch = self._table.submitted(batch, state.id)
        elif batch.input_file is None or time.time() > batch.begun_at + self._endpoint.timeout:
            self._drop(followed)  # who wanted to submit it was stopped before
        return state

    def _end(self, followed: _Followed, state: State) -> None:
        batch = followed.batch
        if state.is_refused:
            self._refuse(followed, state)
            return
        with contextlib.ExitStack() as files:
            outputs = [files.enter_context(tempfile.TemporaryFile()) for _ in state.files]
            for file_id, output in zip(state.files, outputs, strict=True):
                self._service.download(file_id, output)
            found = _take_in(
                itertools.chain.from_iterable(outputs),
                batch,
                table=self._table,
                endpoint=self._endpoint,
                account=self._account,
                keep=self._keep,
            )
        followed.charge.settle(found.usd)
        self._table.ended(batch, state.status)
        self._leave(followed)
        for code, number in found.codes.items():
            count(self._account.ledger.retries, code, number)
        log.info("%s: %s is %s", self._label, batch.id, state.status)
        if found.codes:
            reasons = [f"{n} × {why}" for why, n in found.reasons.most_common(3)]
            log.warning(
                "%s: %d of %d requests came back from %s without an answer (%s) and are asked live",
                *(self._label, found.codes.total(), batch.size, batch.id),
                self._service.cleaned(", ".join(reasons)),
            )

    def _refuse(self, followed: _Followed, state: State) -> None:
        self._drop(followed)
        codes, size = [code for code, _ in state.errors], followed.batch.size
        reasons = [self._service.cleaned(text) for _, text in state.errors]
        may_fit_later, takes_batches = NO_ROOM in codes, self._endpoint.mode == "batch"
        if takes_batches and not (may_fit_later and self._followed):
            raise UserError(_refused_batch(self._endpoint, size, reasons))
        then = "wait for room beside those that are open" if takes_batches else "are asked live"
        log.warning(
            "%s: a batch was refused (%s): its %d requests %s",
            *(self._label, "; ".join(reasons[:3]), size, then),
        )

    def _give_up(self, followed: _Followed, text: str) -> None:
        """Count a batch as lost that the endpoint does not know, unless it may only seem so."""
        batch, ledger = followed.batch, self._account.ledger
        end = batch.begun_at + DAY
        if self._endpoint.api_key_env is not None and time.time() < end:
            raise UserError(_unknown_batch(self._endpoint, batch.size, batch.begun_at, end))
        log.warning(
            "%s: the endpoint does not know %s any more (%s): its %d requests are asked live",
            *(self._label, batch.id or "a batch that it may have been given", text, batch.size),
        )
        ledger.lost += batch.size
        ledger.lost_usd += followed.charge.usd
        self._table.ended(batch, "unknown")
        self._leave(followed)

    def _drop(self, followed: _Followed) -> None:
        """Free the requests of a batch that is not there."""
        followed.charge.settle(0.0)
        self._table.forget(followed.batch)
        self._leave(followed)

    def _leave(self, followed: _Followed) -> None:
        self._account.budget.count(followed.charge)
        self._bar.advance(-followed.shown)
        del self._followed[followed.batch.tag]

    def _show(self, followed: _Followed, state: State) -> None:
        if state.status != followed.status:
            counts = (state.done, state.total or followed.batch.size)
            log.info("%s: %s is %s, %d of %d done", self._label, state.id, state.status, *counts)
            followed.status = state.status
        shown = followed.wanted * state.done // max(state.total, state.done, 1)
        self._bar.advance(shown - followed.shown)
        followed.shown = shown

    def close(self) -> None:
        """Leave what is still open to whoever comes next."""
        for followed in self._followed.values():
            self._account.budget.count(followed.charge)
        if "_service" in vars(self):
            self._service.close()


def _submitted(
    requests: Sequence[ChatRequest],
    *,
    endpoint: Endpoint,
    service: "BatchService",
    table: BatchTable,
) -> Iterator[Batch]:
    """Submit ``requests``, whose claims are ours, and yield each batch as soon as it is there.

    Each step is written down before the next is done, so that a process which is killed between
    two of them leaves nothing that could be lost or sent again.

    Raises:
        UserError: the endpoint takes no batches, or not these.
        ConnectionError: it is out of reach.
    """
    lines = (_batch_line(request, endpoint) for request in requests)
    for part in in_parts(lines, lambda line: len(_line_bytes(line))):
        batch = table.open(part)
        try:
            with tempfile.TemporaryFile() as file:
                file.writelines(_line_bytes(line) for line in part)
                input_file = service.upload(batch.tag, file)
            batch = table.uploaded(batch, input_file)
            batch = table.submitted(batch, service.submit(batch.tag, input_file))
        except RefusedError:
            table.forget(batch)
            raise
        yield batch


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


def _batch_line(request: ChatRequest, endpoint: Endpoint) -> Line:
    _, changes = adapted(request, endpoint)
    return Line(request, {"batch": True} | ({"adapted": changes} if changes else {}))


def _line_bytes(line: Line) -> bytes:
    return input_line(line.request, _sent_body(line)).encode()


@dataclass
class _Results:
    """What the output of a batch came to.

    Attributes:
        usd: What it did cost, where no tokens are reported at its most.
        reasons: Why requests have no answer, in words.
        codes: The same as reason codes.
        again: Requests that are free for another batch, because of what was learnt from this one.
    """

    usd: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    again: int = 0

    def miss(self, code: str, reason: str, requests: int = 1) -> None:
        """Count requests without an answer."""
        self.codes[code] += requests
        self.reasons[reason] += requests


def _take_in(
    lines: Iterable[bytes],
    batch: Batch,
    *,
    table: BatchTable,
    endpoint: Endpoint,
    account: Account,
    keep: Keep,
) -> _Results:
    """Take in what ``batch`` brought.

    Args:
        lines: Of its output and its error file.
        batch: Whose requests they answer.
        table: Where those stand.
        endpoint: Which worked on it.
        account: Is charged with every answer, batch prices applied.
        keep: Takes a request, its answer and how it was made.
    """
    found = _Results()
    for text in lines:
        row = _row(text)
        if row is None:
            continue
        line = table.line(batch, row["custom_id"])
        try:
            response = answer(row["custom_id"], row)
        except NoAnswerError as error:
            if line is not None and _can_do_without(error, line, endpoint):
                table.free(line.request)
                found.again += 1
            elif line is not None:
                expired = error.code == EXPIRED
                found.miss(EXPIRED if expired else FAILED, str(error))
            continue
        found.usd += _charge(response, line, account)
        if line is not None:
            keep(line.request, response, line.made)
    missing = sum(1 for _ in table.unanswered(batch)) - found.codes.total()
    if missing > 0:
        found.miss(MISSING, "no line that can be read", missing)
    return found


def _row(text: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except ValueError:
        return None
    is_line = isinstance(row, dict) and isinstance(row.get("custom_id"), str)
    return row if is_line else None


def _can_do_without(error: NoAnswerError, line: Line, endpoint: Endpoint) -> bool:
    """Whether the line failed by a parameter that is left out from now on."""
    refused = refused_parameter(error.status or 0, error.code, error.parameter, str(error))
    return refused is not None and learn(refused, _sent_body(line), line.request, endpoint)


def _charge(response: Mapping[str, Any], line: Line | None, account: Account) -> float:
    usage = response.get("usage")
    tokens = reported(usage if isinstance(usage, dict) else None)
    account.ledger.spent.add(tokens, account.prices, batch=True)
    if account.prices is None:
        return 0.0
    if tokens and tokens.input:
        return account.prices.cost(tokens, batch=True)
    return 0.0 if line is None else account.prices.most(line.request, batch=True)


def _refused_batch(endpoint: Endpoint, size: int, errors: Sequence[str]) -> str:
    """Say that a batch was refused as a whole, when it was read."""
    reasons = "; ".join(errors[:3]) or "it does not say why"
    more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
    return (
        f"endpoint {endpoint.name!r} refused the batch of {size} requests ({reasons}{more}): put "
        "that right, or choose mode=live; nothing of it was paid for"
    )


def _unknown_batch(endpoint: Endpoint, size: int, begun_at: float, given_up_at: float) -> str:
    """Say that the endpoint does not know a batch which may have been paid for."""
    begun, end = (
        time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (begun_at, given_up_at)
    )
    return (
        f"endpoint {endpoint.name!r} does not know the batch with {size} requests that was "
        f"submitted to it on {begun}: use the base_url and the key of the account it belongs to; "
        f"from {end} on it is given up, and its requests are asked again"
    )

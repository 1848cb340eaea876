"""Batches, from the submission to the last answer, whoever submitted them.

A batch is written down (`book`) before anything is sent, so the process that follows one need not
be the one that made it. What a batch leaves open, be it an error in a line, the end of its day or a
line that is missing, is free again afterwards, to be asked live. Two things are not the end: a
parameter that the model refuses is learnt, and the requests go into another batch without it; and
a batch for which there is no room beside others of ours waits for those.

The process that takes in the answers of a batch pays for it. Until then the batch is set aside from
the budget at its high estimate: it cannot be stopped half-way without being billed for half.
"""

import contextlib
import functools
import itertools
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mini_lima.chat import messages
from mini_lima.chat.account import Account
from mini_lima.chat.batch.batch_table import Batch, BatchBook
from mini_lima.chat.batch.harvest import Keep, harvest
from mini_lima.chat.batch.state import DAY, State, UnknownError
from mini_lima.chat.batch.submission import submitted
from mini_lima.chat.budget import Charge
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.ledger import count
from mini_lima.chat.prices import estimate
from mini_lima.chat.requests import ChatRequest
from mini_lima.errors import UserError
from mini_lima.progress import Bar

if TYPE_CHECKING:
    from mini_lima.chat.batch.service import BatchService

log = logging.getLogger(__name__)

DOUBLINGS = 5
"""Of the first pause between two looks, until it is the longest."""
NO_ROOM = "token_limit_exceeded"


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
        book: BatchBook,
        keep: Keep,
        bar: Bar,
        label: str,
    ) -> None:
        """Follow none yet.

        Args:
            endpoint: Who works on the batches.
            account: Is charged with the answers.
            book: Says which batches there are.
            keep: Takes the answers.
            bar: Is moved as an endpoint tells how far it is; what it is moved by is taken back when
                the answers come, which are counted by whoever waits for them.
            label: Names the work.
        """
        self._endpoint, self._account = endpoint, account
        self._book, self._keep = book, keep
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
        for batch in submitted(
            requests, endpoint=self._endpoint, service=self._service, book=self._book
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
        for tag, wanted in self._book.holding(requests).items():
            if tag not in self._followed and (batch := self._book.adopt(tag)) is not None:
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
        requests = (line.request for line in self._book.unanswered(batch))
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
            followed.batch = self._book.submitted(batch, state.id)
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
            found = harvest(
                itertools.chain.from_iterable(outputs),
                batch,
                book=self._book,
                endpoint=self._endpoint,
                account=self._account,
                keep=self._keep,
            )
        followed.charge.settle(found.usd)
        self._book.ended(batch, state.status)
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
            raise UserError(messages.refused_batch(self._endpoint, size, reasons))
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
            raise UserError(messages.unknown_batch(self._endpoint, batch.size, batch.begun_at, end))
        log.warning(
            "%s: the endpoint does not know %s any more (%s): its %d requests are asked live",
            *(self._label, batch.id or "a batch that it may have been given", text, batch.size),
        )
        ledger.lost += batch.size
        ledger.lost_usd += followed.charge.usd
        self._book.ended(batch, "unknown")
        self._leave(followed)

    def _drop(self, followed: _Followed) -> None:
        """Free the requests of a batch that is not there."""
        followed.charge.settle(0.0)
        self._book.forget(followed.batch)
        self._leave(followed)

    def _leave(self, followed: _Followed) -> None:
        self._account.budget.book(followed.charge)
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
            self._account.budget.book(followed.charge)
        if "_service" in vars(self):
            self._service.close()

"""OpenAI's ``files`` and ``batches`` over the wire: each call is repeated until it is answered.

One call is not harmless to repeat: a batch that was asked for over a connection which then broke
may be there, and is paid for. So a batch carries our tag in its metadata, and before it is asked
for again the endpoint's own list is searched for it.

A batch runs on without us. When the endpoint cannot be reached for as long as a request would be
retried, the run ends, and the next one takes the batch up where it is.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import IO, Any, Final, TypeVar

import httpx2
import openai

from mini_lima.chat import messages, wire
from mini_lima.chat.batch.state import DAY, RefusedError, State, UnknownError, read_id, read_state
from mini_lima.chat.cassette import URL
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.faults import UNREACHABLE, Fault, Meaning, cleaned, fault_of
from mini_lima.chat.retries import RETRIES_OF_THE_UNREACHABLE, pause
from mini_lima.errors import UserError

log = logging.getLogger(__name__)

TAG = "mini_lima"
"""In the metadata of our batches, for our name of them."""
WHAT = "the batch interface"
WINDOW: Final = "24h"
MOST_PER_PAGE = 100
NOT_THERE = (404, 405, 501)

Found = TypeVar("Found")


class BatchService:
    """The batch interface of ``endpoint``, as it answers to the endpoint's key."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Read the key."""
        self._endpoint = endpoint
        self._credential = endpoint.credential()
        self._client = wire.open_blocking_client(endpoint, self._credential)
        self._was_met = False

    def upload(self, tag: str, file: IO[bytes]) -> str:
        """Upload the input of the batch ``tag``; return the endpoint's id of it.

        Raises:
            RefusedError: the endpoint does not take it.
        """

        def once() -> str:
            file.seek(0)
            name = f"mini-lima-{tag}.jsonl"
            answer = self._client.files.with_raw_response.create(
                file=(name, file, "application/jsonl"), purpose="batch"
            )
            return read_id(_document(answer.content))

        try:
            return self._persist(once)
        except UnknownError as error:
            raise RefusedError(messages.no_batch_interface(self._endpoint, str(error))) from None
        except UserError as error:
            raise RefusedError(str(error)) from None

    def submit(self, tag: str, input_file: str) -> str:
        """Ask for the batch ``tag`` with the input ``input_file``; return its id.

        Raises:
            RefusedError: the endpoint does not take it.
            UserError: it does not answer any more, and the batch may be there or not.
        """
        begun, tries = time.time(), 0

        def once() -> str:
            nonlocal tries
            tries += 1
            if tries > 1 and (found := self._listed(tag, begun)) is not None:
                return found.id
            answer = self._client.batches.with_raw_response.create(
                input_file_id=input_file,
                endpoint=URL,
                completion_window=WINDOW,
                metadata={TAG: tag},
            )
            return read_id(_document(answer.content))

        try:
            return self._persist(once)
        except UnknownError as error:
            text = messages.no_batch_interface(self._endpoint, str(error))
            raise (RefusedError if tries == 1 else UserError)(text) from None
        except UserError as error:
            raise (RefusedError if tries == 1 else UserError)(str(error)) from None

    def find(self, tag: str, since: float) -> State | None:
        """The batch ``tag``, begun at ``since`` (seconds since the epoch); None if not listed.

        Raises:
            UnknownError: the endpoint does not list its batches.
        """
        return self._persist(lambda: self._listed(tag, since))

    def state(self, id_: str) -> State:
        """How the batch ``id_`` stands.

        Raises:
            UnknownError: there is no such batch, not for this key.
        """
        batches = self._client.batches.with_raw_response
        return self._persist(lambda: read_state(_document(batches.retrieve(id_).content)))

    def download(self, file_id: str, into: IO[bytes]) -> None:
        """Write the contents of ``file_id`` to ``into``, and go back to its beginning.

        Raises:
            UnknownError: there is no such file any more.
        """

        def once() -> None:
            into.seek(0)
            into.truncate()
            with self._client.files.with_streaming_response.content(file_id) as response:
                for part in response.iter_bytes():
                    into.write(part)
            into.seek(0)

        self._persist(once)

    def cleaned(self, text: str) -> str:
        """What the endpoint told, as one short line without the key."""
        return cleaned(text, self._endpoint, self._credential)

    def _listed(self, tag: str, since: float) -> State | None:
        after: dict[str, Any] = {}
        while True:
            answer = self._client.batches.with_raw_response.list(limit=MOST_PER_PAGE, **after)
            page = _document(answer.content)
            batches = [batch for batch in page.get("data") or [] if isinstance(batch, dict)]
            for batch in batches:
                if (batch.get("metadata") or {}).get(TAG) == tag:
                    return read_state(batch)
            # The newest come first; a day is more than any two clocks differ.
            is_too_old = batches and (batches[-1].get("created_at") or since) < since - DAY
            if not batches or is_too_old or not page.get("has_more"):
                return None
            after = {"after": read_id(batches[-1])}

    def _persist(self, call: Callable[[], Found]) -> Found:
        """The outcome of ``call``, which is repeated while what goes wrong may pass.

        Raises:
            UnknownError: the endpoint does not have this.
            UserError: it will never answer this.
            ConnectionError: it does not answer now.
        """
        retries, begun = 0, time.monotonic()
        while True:
            try:
                found = call()
            except (openai.APIError, httpx2.TransportError, TimeoutError, ValueError) as error:
                fault = fault_of(error, self._endpoint, self._credential, WHAT)
                if isinstance(error, openai.APIStatusError) and error.status_code in NOT_THERE:
                    raise UnknownError(fault.text) from None
            else:
                self._was_met = True
                return found
            seconds = self._pause(fault, retries, time.monotonic() - begun)
            if not retries:
                log.info("endpoint %r: %s; trying again", self._endpoint.name, fault.text)
            retries += 1
            time.sleep(seconds)

    def _pause(self, fault: Fault, retries: int, elapsed: float) -> float:
        if fault.meaning is Meaning.hopeless:
            raise UserError(messages.hopeless(self._endpoint, fault))
        if fault.meaning is Meaning.own:
            raise UserError(messages.not_taken(self._endpoint, fault))
        self._was_met = self._was_met or fault.code != UNREACHABLE
        seconds = pause(
            endpoint=self._endpoint,
            retries=retries,
            elapsed=elapsed,
            asked_for=fault.asked_for,
            chance=0.0,
        )
        if seconds is None or (not self._was_met and retries >= RETRIES_OF_THE_UNREACHABLE):
            raise ConnectionError(messages.out_of_reach(self._endpoint, fault))
        return seconds

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _document(content: bytes) -> dict[str, Any]:
    document = json.loads(content)
    if not isinstance(document, dict):
        raise ValueError("the response is not a JSON object")
    return document

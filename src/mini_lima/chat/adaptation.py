"""Parameters that a model refuses, learnt from its first refusal and then left alone.

OpenAI's newer models want ``max_completion_tokens`` in place of ``max_tokens`` and take no
``temperature``; older servers want it the other way round. The request stays what it is, with its
key: only what is sent changes, for this model and as long as this process lives. A length limit is
renamed and never dropped, because money depends on it.
"""

import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.requests import ChatRequest

log = logging.getLogger(__name__)

RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
DROPPED = ("temperature", "top_p", "seed")
CODES = ("unsupported_parameter", "unsupported_value")

_NAME = "(max_tokens|max_completion_tokens|temperature|top_p|seed)"
_REFUSALS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # OpenAI, and what passes its errors on without their code
        rf"unsupported (?:parameter|value): \W*{_NAME}\b",
        rf"unrecognized request argument supplied: {_NAME}\b",
        r"setting \W*(max_tokens)\W+and\W+max_completion_tokens\W+at the same time",
        # servers that check bodies with pydantic (vLLM, Mistral)
        rf"extra_forbidden\W+loc\W+body\W+{_NAME}\b",
        # Anthropic, xAI and routers
        rf"[`'\"]{_NAME}[`'\"]? is (?:deprecated|not supported|unsupported)",
        rf"does not support (?:the )?(?:parameter )?[`'\"]?{_NAME}\b",
        rf"argument not supported on this model: {_NAME}\b",
    )
]

_known: dict[tuple[str, str], dict[str, str]] = {}
"""By address and model: parameters and what is done with them."""


def refused_parameter(
    status: int, code: str | None, parameter: str | None, text: str
) -> str | None:
    """The parameter that an error says a model does not take, None if it says something else.

    Not a value that is out of range: a ``max_tokens`` that is too large is the caller's to mend.

    Args:
        status: Of the response.
        code: OpenAI's code of the error.
        parameter: The parameter that OpenAI's error names.
        text: The error in full.
    """
    if status not in (400, 422):
        return None
    if code in CODES and (parameter in RENAMED or parameter in DROPPED):
        return parameter
    found = (pattern.search(text) for pattern in _REFUSALS)
    return next((match[1].lower() for match in found if match), None)


def adapted(request: ChatRequest, endpoint: Endpoint) -> tuple[dict[str, Any], dict[str, str]]:
    """The body to send for ``request``, and what of it was changed, by parameter."""
    known, body = _known.get(_model(request, endpoint), {}), request.body
    changes = {name: what for name, what in known.items() if name in body}
    return changed(body, changes), changes


def changed(body: Mapping[str, Any], changes: Collection[str]) -> dict[str, Any]:
    """``body`` without the parameters ``changes``, under their other name where they have one."""
    left = {name: value for name, value in body.items() if name not in changes}
    for name in changes:
        if name in RENAMED:
            left.setdefault(RENAMED[name], body[name])
    return left


def learn(refused: str, sent: Mapping[str, Any], request: ChatRequest, endpoint: Endpoint) -> bool:
    """Remember that the model refuses ``refused``; False if nothing can be changed about it.

    Args:
        refused: The parameter.
        sent: The body that was refused.
        request: What it was made of.
        endpoint: Who refused it.
    """
    known = _known.setdefault(_model(request, endpoint), {})
    if refused not in sent or RENAMED.get(refused) in known:
        return False  # it was not sent, or it stands in for the one that was refused before
    if refused not in known:  # calls that were in flight together are refused together
        what = f"sent as {RENAMED[refused]}" if refused in RENAMED else "left out"
        known[refused] = what
        log.warning(
            "endpoint %r: model %s refuses %s, which is %s from now on",
            *(endpoint.name, request.model, refused, what),
        )
    return True


def _model(request: ChatRequest, endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.url, request.model

"""Keys stay in the environment: records, and what is sent elsewhere, are searched for them."""

from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "(hidden)"


def without_secrets(config: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return ``config`` with the values of the key variables that it names hidden in all texts.

    The configuration names variables and holds no keys, but a URL or a command may have been
    composed of one.
    """
    keys = [value for name in set(_key_variables(config)) if (value := environment.get(name))]

    def cleaned(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: cleaned(each) for key, each in value.items()}
        if isinstance(value, list):
            return [cleaned(each) for each in value]
        if isinstance(value, str):
            for key in keys:
                value = value.replace(key, HIDDEN)
        return value

    return {key: cleaned(value) for key, value in config.items()}


def _key_variables(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key == "api_key_env" and isinstance(each, str):
                yield each
            yield from _key_variables(each)
    elif isinstance(value, list):
        for each in value:
            yield from _key_variables(each)

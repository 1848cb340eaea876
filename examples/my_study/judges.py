"""A judge that is a rule: which of two outputs is preferred, from 1 (the first) to 2."""


def prefer_plain(instruction: str, output_1: str, output_2: str) -> float:
    """Prefer the output with fewer exclamation marks; as many are a tie."""
    first, second = output_1.count("!"), output_2.count("!")
    return 1.5 if first == second else 1.0 if first < second else 2.0

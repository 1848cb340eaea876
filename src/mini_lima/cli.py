"""``mini-lima``: looking into what runs have left behind. Runs themselves are started by run.py."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mini_lima.data import trace
from mini_lima.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 2 for what a person can put right."""
    parser = argparse.ArgumentParser(prog="mini-lima", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_trace(commands)
    options = parser.parse_args(arguments)
    try:
        print(options.run(options))
        sys.stdout.flush()
    except UserError as error:
        print(f"mini-lima: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _add_trace(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "trace",
        help="show where an example comes from",
        description="Show the chain from the seed tasks to an example's text: every prompt and "
        "reply, and for an improved example both outputs.",
    )
    parser.add_argument("example", help="id of the example, as examples.jsonl has it")
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of the data set (default: the newest in the store that has the example)",
    )
    parser.add_argument(
        "--store", type=Path, default=Path("outputs/store"), help="default: outputs/store"
    )
    parser.add_argument(
        "--cache", type=Path, help="the response cache (default: that of the data set's store)"
    )
    parser.set_defaults(run=_trace)


def _trace(options: argparse.Namespace) -> str:
    data = options.data or trace.newest_data_set(options.store, options.example)
    # <store>/data/<data set>
    beside = data.absolute().parents[1] / trace.RESPONSES
    cache = options.cache or (beside if beside.is_file() else options.store / trace.RESPONSES)
    return trace.trace(data, options.example, cache)


if __name__ == "__main__":
    sys.exit(main())

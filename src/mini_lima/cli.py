"""``mini-lima``: looking into what runs have left behind. Runs themselves are started by run.py."""

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from mini_lima.audit import commands as audit
from mini_lima.chat import recordings
from mini_lima.data import trace
from mini_lima.errors import UserError
from mini_lima.experiment import power_command, preview, store_commands
from mini_lima.report import workspace
from mini_lima.store import contents
from mini_lima.text import LogFormatter, say
from mini_lima.text.streams import make_lasting


def program() -> int:
    """Run the command line of this process."""
    make_lasting()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 2 for what a person can put right."""
    parser = argparse.ArgumentParser(prog="mini-lima", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_compare(commands)
    _add_trace(commands)
    preview.add(commands)
    _add_export(commands)
    _add_import(commands)
    store_commands.add(commands)
    audit.add_audit(commands)
    power_command.add(commands)
    workspace.add(commands)
    options = parser.parse_args(arguments)
    warnings = logging.StreamHandler()
    warnings.setFormatter(LogFormatter("%(message)s"))
    logging.basicConfig(handlers=[warnings])
    try:
        if said := options.run(options):
            say(said)
            sys.stdout.flush()
    except UserError as error:
        say(f"mini-lima: {error}", error=True)
        return 2
    except OSError as error:  # a path that is too long, not ours to read or to write
        where = f"{error.filename}: " if error.filename else ""
        say(f"mini-lima: {where}{error.strerror or error}", error=True)
        return 2
    except Exception:
        say(traceback.format_exc(), error=True)
        return 1
    return 0


def _add_compare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "compare",
        help="the table and the contrasts of finished cells, also across sweeps",
        description="Make the comparison of all cells in the given folders again, and write "
        "report.md, report.json and report.html.",
    )
    parser.add_argument("folders", type=Path, nargs="+", help="folders of sweeps or cells")
    parser.add_argument(
        "--into", type=Path, help="folder of the report (default: the first of the folders)"
    )
    parser.add_argument(
        "--track", action="store_true", help="log it to Weights & Biases too, as the cells are"
    )
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    from mini_lima.experiment.sweep import summarise

    first = next(filter(Path.is_dir, options.folders), options.folders[0])
    into = options.into or first
    summarise(options.folders, into=into, track=options.track)


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
    if (data / contents.STAGE).exists():
        contents.check(data)
    # <store>/data/<data set>
    beside = data.absolute().parent.parent / trace.RESPONSES
    cache = options.cache or (beside if beside.is_file() else options.store / trace.RESPONSES)
    return trace.trace(data, options.example, cache)


def _add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "export",
        help="write what teacher and annotator answered to one portable file",
        description="Write all answers behind finished stages, cells or sweeps to a cassette: "
        "OpenAI's batch format, a line per request with its answer.",
    )
    parser.add_argument("folders", type=Path, nargs="+", help="folders of stages, cells or sweeps")
    parser.add_argument("--to", type=Path, required=True, help="the file to write")
    _add_cache(parser)
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> str:
    count = recordings.export_cassette(options.folders, options.cache, options.to)
    return f"{count} answers in {options.to}"


def _add_import(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "import",
        help="put the answers of such a file into a store, where they need not be asked again",
        description="Put the answers on a cassette into the response cache of a store. The same "
        "configuration then runs there without network, with mode=replay without a key.",
    )
    parser.add_argument("cassette", type=Path, help="the file that export wrote")
    parser.add_argument("--endpoint", help="whose answers they are, if the file does not say it")
    _add_cache(parser)
    parser.set_defaults(run=_import)


def _import(options: argparse.Namespace) -> str:
    counts = recordings.import_cassette(options.cassette, options.cache, options.endpoint)
    return f"{counts['new']} answers are new, {counts['known']} were there already"


def _add_cache(parser: argparse.ArgumentParser) -> None:
    default = Path("outputs/store") / trace.RESPONSES
    parser.add_argument(
        "--cache", type=Path, default=default, help=f"the response cache (default: {default})"
    )


if __name__ == "__main__":
    sys.exit(program())

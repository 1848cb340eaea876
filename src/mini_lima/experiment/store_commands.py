"""``mini-lima store list | show | prune``: the texts of what `store.index` finds."""

import argparse
import json
from pathlib import Path

from mini_lima.chat import LEDGER
from mini_lima.files import read_json
from mini_lima.store import index

UNITS = ("B", "KB", "MB", "GB", "TB")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``store`` to the command line."""
    parser = commands.add_parser(
        "store", help="what is in the store, what it cost, who uses it; remove what nobody needs"
    )
    actions = parser.add_subparsers(required=True, metavar="action")
    listing = actions.add_parser("list", help="all finished stages")
    listing.set_defaults(run=_list)
    showing = actions.add_parser("show", help="one stage: what it was made from, and who uses it")
    showing.add_argument("name", help="its directory, a part of that, or its fingerprint")
    showing.set_defaults(run=_show)
    pruning = actions.add_parser(
        "prune",
        help="show what no run refers to any more; with --yes, remove it",
        description="A run refers to its stages as long as its folder exists: delete the folder of "
        "an experiment, then prune. The response cache, which holds what was paid for, stays.",
    )
    pruning.add_argument("--yes", action="store_true", help="remove it, instead of showing it")
    pruning.set_defaults(run=_prune)
    for each in (listing, showing, pruning):
        each.add_argument(
            "--store", type=Path, default=Path("outputs/store"), help="default: outputs/store"
        )


def _list(options: argparse.Namespace) -> str:
    rows = [("stage", "size", "made in", "cost", "used by")]
    items = index.take(options.store)
    for item in items:
        usd = _usd(item)
        cost = "" if usd is None else f"${usd:.2f}"
        rows.append(
            (item.name, _size(item.size), f"{item.seconds:.0f} s", cost, _users(item.users))
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    total = sum(item.size for item in items)
    return "\n".join([*lines, f"{len(items)} stages, {_size(total)}"])


def _show(options: argparse.Namespace) -> str:
    items = index.take(options.store)
    item = index.find(items, options.name)
    made_from = {each.fingerprint: each.name for each in items}
    inputs = {
        keyword: made_from.get(fingerprint, fingerprint)
        for keyword, fingerprint in item.record["identity"]["inputs"].items()
    }
    lines = [
        f"{item.name}: {_size(item.size)} in {item.folder}",
        *(f"made from {name} ({keyword})" for keyword, name in inputs.items()),
        *(f"used by {user}" for user in item.users or ["nobody"]),
        json.dumps(item.record, indent=2, ensure_ascii=False),
    ]
    return "\n".join(lines)


def _prune(options: argparse.Namespace) -> str:
    unused, leftovers = _unneeded(options.store)
    if not unused and not leftovers:
        return "nothing to remove: every stage is used by a run whose folder exists"
    if not options.yes:
        sizes = {item.name: item.size for item in unused}
        sizes |= {str(path.relative_to(options.store)): index.size_of(path) for path in leftovers}
        lines = [f"{_size(size):>7}  {name}" for name, size in sizes.items()]
        freed = _size(sum(sizes.values()))
        return "\n".join([*lines, f"{freed} to remove: say --yes to remove them"])
    lines = []
    with index.nobody_registers(options.store):
        unused, leftovers = _unneeded(options.store)  # a run may have begun since
        gone = {item.name: index.take_away(item) for item in unused}
    for name, files in gone.items():
        if files is not None:
            index.clear(files)
        lines.append(f"{'left, somebody is at it:' if files is None else 'removed'} {name}")
    for path in leftovers:
        index.clear(path)
        lines.append(f"removed {path.relative_to(options.store)}")
    return "\n".join(lines)


def _unneeded(store: Path) -> tuple[list[index.Item], list[Path]]:
    unused = [item for item in index.take(store) if not item.users]
    return unused, index.left_behind(store)


def _users(users: list[str]) -> str:
    names = ["/".join(Path(user).parts[-2:]) for user in users]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "") or "–"


def _size(number: float) -> str:
    for unit in UNITS:
        if number < 1000 or unit == UNITS[-1]:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def _usd(item: index.Item) -> float | None:
    """What the answers in a stage cost; None if it asked nobody, or the price is not known."""
    ledger = item.folder / LEDGER
    if not ledger.is_file():
        return None
    value = read_json(ledger)["value"]
    return None if value["unpriced"] else float(value["usd"])

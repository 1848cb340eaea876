"""``mini-lima store list | show | verify | prune``: the texts of what `store.index` finds."""

import argparse
import json
from pathlib import Path

from mini_lima.chat import LEDGER
from mini_lima.chat.cache import damage as damage_of_cache
from mini_lima.data.trace import RESPONSES
from mini_lima.errors import UserError, listed
from mini_lima.results import cost_of
from mini_lima.store import contents, index

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
    verifying = actions.add_parser(
        "verify",
        help="read all files and cached answers, and name what is damaged",
        description="Compare every finished stage and every cached answer with its checksum. A run "
        "does so only with what it uses, and reads only what seems to have changed.",
    )
    verifying.set_defaults(run=_verify)
    pruning = actions.add_parser(
        "prune",
        help="show what no run refers to any more; with --yes, remove it",
        description="A run refers to its stages as long as its folder exists: delete the folder of "
        "an experiment, then prune. The response cache, which holds what was paid for, stays.",
    )
    pruning.add_argument("--yes", action="store_true", help="remove it, instead of showing it")
    pruning.set_defaults(run=_prune)
    for each in (listing, showing, verifying, pruning):
        each.add_argument(
            "--store", type=Path, default=Path("outputs/store"), help="default: outputs/store"
        )


def _list(options: argparse.Namespace) -> str:
    rows = [("stage", "size", "made in", "cost", "used by")]
    found = index.take(options.store)
    for item in found.items:
        rows.append(
            (item.name, _size(item.size), f"{item.seconds:.0f} s", _cost(item), _users(item.users))
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    total = sum(item.size for item in found.items)
    return "\n".join([*lines, f"{len(found.items)} stages, {_size(total)}", *_passed_over(found)])


def _passed_over(found: index.Inventory) -> list[str]:
    """What stands below a list that is not of everything."""
    told = [f"passed over: {line}" for line in listed(found.passed_over)]
    return [*told, f"{len(found.passed_over)} passed over"] if told else []


def _show(options: argparse.Namespace) -> str:
    items = index.take(options.store).items
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


def _verify(options: argparse.Namespace) -> str:
    found = index.take(options.store)
    faults, unknown = list(found.passed_over), []
    for item in found.items:
        damage = contents.damage(item.folder, content=True)
        if damage is None:
            unknown.append(item.name)
        elif damage:
            faults.append(contents.refusal(item.folder, damage))
    cache, unproved = options.store / RESPONSES, 0
    if cache.exists():
        damage, unproved = damage_of_cache(cache)
        faults += damage
    said = [f"{len(found.items)} stages were read"]
    if unknown:
        said.append(f"{len(unknown)} of them without a checksum, as earlier versions made them")
    if unproved:
        said.append(f"{unproved} cached answers likewise")
    if faults:
        head = f"damage was found ({', '.join(said)}):"
        raise UserError("\n".join([head, *listed(faults)]))
    return ", ".join([*said, "no damage found"])


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
    lines, gone = [], {}
    with index.nobody_registers(options.store):
        unused, leftovers = _unneeded(options.store)  # a run may have begun since
        for item in unused:
            try:
                gone[item.name] = index.take_away(item)
            except (OSError, UserError) as error:
                lines.append(f"left {item.name}: {error}")
    for name, files in gone.items():
        if files is None:
            lines.append(f"left, somebody is at it: {name}")
        else:
            lines.append(_cleared(files, name))
    lines += [_cleared(path, str(path.relative_to(options.store))) for path in leftovers]
    return "\n".join(lines)


def _cleared(path: Path, name: str) -> str:
    try:
        index.clear(path)
    except (OSError, UserError) as error:
        return f"left {path}: {error}"
    return f"removed {name}"


def _unneeded(store: Path) -> tuple[list[index.Item], list[Path]]:
    """What no run refers to.

    Raises:
        UserError: it is not known what a run refers to.
    """
    found = index.take(store)
    if found.unknown_users:
        raise UserError(
            "\n".join(
                [
                    f"nothing is removed, for what {len(found.unknown_users)} runs use is not known:"
                    " make these files readable, or remove them:",
                    *listed(found.unknown_users),
                ]
            )
        )
    unused = [item for item in found.items if not item.users]
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


def _cost(item: index.Item) -> str:
    """What the answers in a stage cost; empty if it asked nobody, or the price is not known."""
    ledger = item.folder / LEDGER
    if not ledger.is_file():
        return ""
    try:
        cost = cost_of(ledger)
    except UserError:
        return "damaged"
    return "" if cost.unpriced else f"${cost.usd:.2f}"

"""A process that builds DeepSpeed's extensions with a builder of its own, for test_ops.py.

    python build_job.py FOLDER CALLS

Each build appends its builder to CALLS, says "building", and waits for a line before it goes on.
"""

import logging
import sys
from pathlib import Path

from mini_lima.sft.ops import OPS, build_once


def main(folder: Path, calls: Path) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")

    def build(builder: str) -> None:
        leftover = folder / OPS[builder] / "lock"
        assert not leftover.exists()
        leftover.parent.mkdir(parents=True, exist_ok=True)
        leftover.touch()
        with calls.open("a") as file:
            file.write(f"{builder}\n")
        print("building", flush=True)
        sys.stdin.readline()
        leftover.unlink()

    build_once(folder, ["ShareMemCommBuilder", "CPUAdamBuilder"], build)
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

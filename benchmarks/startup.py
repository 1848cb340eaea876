"""What `--help` and `--cfg job` take beyond a bare Hydra program: `python benchmarks/startup.py`.

Both programs are started in turn, so that a machine that is busy for a moment slows both. The bare
program has one YAML file, one key and nothing of ours; the last row is a mistake, which has to be
told within a second.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

RUNS = 10
TARGET = 0.3
OURS = Path(__file__).parent.parent / "run.py"
BARE = """\
import hydra


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    pass


if __name__ == "__main__":
    main()
"""
ARGUMENTS = [["--help"], ["--cfg", "job"], ["optmizer.lr=1"]]


def seconds(program: Path, arguments: list[str], folder: Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, str(program), *arguments]
    subprocess.run(command, cwd=folder, check=False, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "conf").mkdir()
        (folder / "conf" / "config.yaml").write_text("key: value\n", encoding="utf-8")
        bare = folder / "bare.py"
        bare.write_text(BARE, encoding="utf-8")
        for program in (bare, OURS):  # compiles the bytecode, fills the disk cache
            seconds(program, ["--help"], folder)
        print(
            f"{'median of ' + str(RUNS):16}{'bare Hydra':>12}{'run.py':>9}{'beyond':>9}{'ratio':>8}"
        )
        for arguments in ARGUMENTS:
            times = [
                [seconds(each, arguments, folder) for each in (bare, OURS)] for _ in range(RUNS)
            ]
            theirs, ours = (median(column) for column in zip(*times, strict=True))
            print(
                f"{' '.join(arguments):16}{theirs:10.2f} s{ours:7.2f} s{ours - theirs:7.2f} s"
                f"{ours / theirs:8.2f}  {'ok' if ours - theirs < TARGET else 'too slow'}"
            )


if __name__ == "__main__":
    main()

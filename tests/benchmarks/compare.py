"""Is a commit slower than another on this machine? Ratios of CPU time; exit code 1 where one is above 1.2.

    python tests/benchmarks/compare.py BASE HEAD [--limit 1.2] [--rounds 5] [--only WORDS] [--summary FILE]

BASE and HEAD are commits of this repository, or folders with a checkout. Both are measured by this checkout's
`quick.py`, each in a process of its own, in turns: BASE, HEAD, HEAD, BASE, ... A ratio is HEAD's least time of a case
over BASE's; least times, because whatever else the machine does only adds. A case that is above the limit is measured
again, twice, before it counts. Cases that one side cannot run are named and do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Compare and print a table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="commit or folder")
    parser.add_argument("head", help="commit or folder")
    parser.add_argument("--limit", type=float, default=1.2, help="largest ratio that passes (default 1.2)")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each side (default 5)")
    parser.add_argument("--repeats", type=int, default=5, help="of each case in a process (default 5)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--summary", type=Path, help="append the table, in Markdown, to this file")
    args = parser.parse_args()
    with checkout(args.base) as base, checkout(args.head) as head:
        found = Comparison(base, head, args.repeats)
        found.measure(args.rounds, args.only)
        for name in [n for n, ratio in found.ratios().items() if ratio > args.limit]:
            found.measure(2, name)
    text = found.table(args.limit)
    print(text)
    if args.summary:
        with open(args.summary, "a", encoding="utf-8") as file:
            file.write(text + "\n")
    if not found.ratios():
        print("no case ran on both sides", file=sys.stderr)
        return 2
    return int(any(ratio > args.limit for ratio in found.ratios().values()))


@contextlib.contextmanager
def checkout(name: str) -> Iterator[Path]:
    """The folder of that name, or a temporary work tree of that commit."""
    if Path(name).is_dir():
        yield Path(name).resolve()
        return
    git = ["git", "-C", str(HERE)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(tree), name], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)


class Comparison:
    """Least times of both sides, by case."""

    def __init__(self, base: Path, head: Path, repeats: int):
        self.sides = {"base": base, "head": head}
        self.repeats = repeats
        self.seconds: dict[str, dict[str, float]] = {"base": {}, "head": {}}
        self.skipped: dict[str, str] = {}

    def measure(self, rounds: int, only: str) -> None:
        """Both sides in turns, so that a machine that slows down does so for both."""
        for turn in range(rounds):
            for side in ("base", "head") if turn % 2 == 0 else ("head", "base"):
                answer = quick(self.sides[side], self.repeats, only)
                for name, seconds in answer["seconds"].items():
                    known = self.seconds[side].get(name, float("inf"))
                    self.seconds[side][name] = min(known, seconds)
                self.skipped |= {name: f"{side}: {reason}" for name, reason in answer["skipped"].items()}

    def ratios(self) -> dict[str, float]:
        """Case -> time of HEAD over time of BASE."""
        base, head = self.seconds["base"], self.seconds["head"]
        return {name: head[name] / base[name] for name in base if name in head}

    def table(self, limit: float) -> str:
        """Markdown, the slowest ratio first."""
        lines = ["| case | base ms | head ms | ratio | |", "|---|---:|---:|---:|---|"]
        for name, ratio in sorted(self.ratios().items(), key=lambda item: -item[1]):
            base, head = (1e3 * self.seconds[side][name] for side in ("base", "head"))
            lines.append(f"| {name} | {base:.2f} | {head:.2f} | {ratio:.2f} | {'SLOWER' if ratio > limit else ''} |")
        lines += [f"| {name} | | | | not compared, {reason} |" for name, reason in sorted(self.skipped.items())]
        return "\n".join(lines)


def quick(tree: Path, repeats: int, only: str) -> dict:
    """What quick.py says of the suite in a folder."""
    command = [sys.executable, str(HERE / "quick.py"), "--repeats", str(repeats), "--only", only]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, cwd=tree, stdout=subprocess.PIPE, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    if not Path(answer["suite"]).samefile(tree):  # an installed suite that goes first would compare itself with itself
        raise RuntimeError(f"the suite in {answer['suite']} was measured instead of that in {tree}")
    return answer


if __name__ == "__main__":
    sys.exit(main())

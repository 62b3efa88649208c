"""The command line: `bench/commands` holds one file per command, found by listing the folder and imported when used."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import sys
from pathlib import Path

from bench.usage import UsageError, suggest

__all__ = ["UsageError", "main"]
FOLDER = Path(__file__).with_name("commands")


def commands() -> list[str]:
    """The names of all commands."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 fine, 1 the command's own finding (failed cells, a regression, new defects), 2 the request cannot be
    carried out, 128 + n ended by signal n (130 interrupted).
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0 if argv else 2
    if argv[0] == "--version":
        from bench import __version__

        print(f"forgery-bench {__version__}")
        return 0
    command = argv[0]
    if command not in commands():
        print(f"error: unknown command {command!r}; {suggest(command, commands())}\n\n{_overview()}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"bench.commands.{command}")
    parser = argparse.ArgumentParser(
        prog=f"python -m bench {command}",
        description=(module.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    try:
        return module.main(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output (head, less) has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _is_users(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def _is_users(error: Exception) -> bool:
    """Whether the error speaks to the user (one of the suite's own classes, or the operating system's)."""
    own = type(error).__module__.partition(".")[0] in ("bench", "models", "reports")
    return own or isinstance(error, OSError)


def _summary(command: str) -> str:
    """The first sentence of a command's module, read without importing it."""
    text = ast.get_docstring(ast.parse((FOLDER / f"{command}.py").read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _overview() -> str:
    return "\n".join(
        [
            "usage: python -m bench COMMAND [OPTIONS]      (--help after a command shows its options)",
            "",
            "Evaluates image forgery localizers: accuracy, and robustness to post-processing.",
            "",
            *(f"  {name:8} {_summary(name)}" for name in commands()),
        ]
    )

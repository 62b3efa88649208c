"""The command line: which command is which module. Modules are imported only when their command is used."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys

COMMANDS = {
    "run": ("bench.run", "run localizers over test sets and perturbations; resumes where it was stopped"),
    "report": ("bench.report", "turn one or several runs into an HTML page, figures and tables"),
    "check": ("bench.check", "compare a run with a reference; exit 1 when a localizer got worse"),
    "list": ("bench.listing", "list models, data, perturbations or protocols"),
    "data": ("bench.data_commands", "verify, prepare or describe a test set"),
    "weights": ("bench.weights", "what checkpoints are needed, from where, whether they are intact; convert one"),
    "train": ("bench.train", "train a localizer"),
    "study": ("bench.study", "train the variants of a study, evaluate and compare them"),
    "export": ("bench.export", "write perturbed images for a tool that lives elsewhere"),
}


class UsageError(ValueError):
    """What the user asked for cannot be done; the message says what to change."""


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
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        print(f"error: unknown command {command!r}{hint}\n\n{_overview()}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[command][0])
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


def _overview() -> str:
    lines = [f"  {name:8} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python -m bench COMMAND [OPTIONS]      (--help after a command shows its options)",
            "",
            "Evaluates image forgery localizers: accuracy, and robustness to post-processing.",
            "",
            *lines,
        ]
    )

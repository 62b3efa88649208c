"""The command line: `bench/commands` holds one file per command, found by listing the folder and imported when used."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from bench.usage import UsageError, suggest

__all__ = ["UsageError", "main"]
FOLDER = Path(__file__).with_name("commands")
PACKAGES = ("bench", "models", "reports")
INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h: never mistaken for a command's own finding


def commands() -> list[str]:
    """The names of all commands."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 fine, 1 the command's own finding (failed cells, a regression, new defects), 2 the request cannot be
    carried out, 70 an error of the suite itself, 128 + n ended by signal n (130 interrupted).
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
        hint = suggest(command, commands())
        print(f"error: unknown command {command!r}; {hint} See: python -m bench --help", file=sys.stderr)
        return 2
    try:
        return _run(command, argv[1:])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output (head, less) has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if _is_users(error):
            print(f"error: {error}", file=sys.stderr)
            return 2
        if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] not in PACKAGES:
            print(
                f"error: the package {error.name!r} is not installed for {sys.executable}; install the suite with its "
                "dependencies there (pip install forgery-bench, or pip install . in its folder)",
                file=sys.stderr,
            )
            return 2
        traceback.print_exc()
        print("error: this is a fault of forgery-bench and not of your input; please report it", file=sys.stderr)
        return INTERNAL_ERROR


def _run(command: str, words: list[str]) -> int:
    _refuse_packages_of_others()
    module = importlib.import_module(f"bench.commands.{command}")
    parser = _Parser(
        prog=f"python -m bench {command}",
        description=(module.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    said = parser.add_mutually_exclusive_group()
    said.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    said.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors there")
    args = parser.parse_args(words)
    if getattr(args, "config", None):  # what the file says takes the place of the defaults
        parser.set_defaults(**module.read_config(args.config))
        args = parser.parse_args(words)
    level = logging.DEBUG if args.verbose else logging.WARNING if args.quiet else logging.INFO
    for package in PACKAGES:
        log_to_standard_error(logging.getLogger(package), level)
    return module.main(args)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is long, and --help shows it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see: {self.prog} --help\n")


class _StandardError(logging.Handler):
    """Writes records to what `sys.stderr` is at that moment, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        write = sys.modules["tqdm"].tqdm.write if "tqdm" in sys.modules else print
        write(f"{level}{self.format(record)}", file=sys.stderr)


def log_to_standard_error(logger: logging.Logger, level: int) -> None:
    """Let a logger's records from this level up go to standard error."""
    logger.setLevel(level)
    if not any(isinstance(handler, _StandardError) for handler in logger.handlers):
        logger.addHandler(_StandardError())


def _refuse_packages_of_others() -> None:
    """Raises UsageError where another project's `models` or `reports` is found before the suite's own.

    `python -m` puts the working folder first on the path, and most research repositories have a folder `models`.
    """
    home = Path(__file__).resolve().parents[1]
    for name in PACKAGES[1:]:
        spec = importlib.util.find_spec(name)
        origin = spec and (spec.origin or next(iter(spec.submodule_search_locations or ()), None))
        folder = Path(origin).resolve() if origin else home / name
        folder = folder.parent if folder.name == "__init__.py" else folder
        if not folder.is_relative_to(home / name):
            raise UsageError(
                f"{folder} hides the suite's own package {name!r}; run forgery-bench instead of python -m bench, or "
                f"change the working folder or PYTHONPATH (a localizer that needs this {name!r} runs in a process of "
                "its own: --models exec:FILE.toml)"
            )


def _is_users(error: Exception) -> bool:
    """Whether the error speaks to the user (one of the suite's own classes, or the operating system's)."""
    own = type(error).__module__.partition(".")[0] in PACKAGES
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

"""What all commands share: parsing, and errors as one sentence with an exit status."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterable
from typing import Any, NoReturn

from autotune.errors import AutotuneError, InvalidInput, NoCompleteTrial
from autotune.records import TrialConfig
from autotune.storage import StudyDir


def run_command(name: str, module_name: str, argv: list[str]) -> int:
    """Run a command's module: ``add_arguments(parser)``, then ``run(args)``; with PASS_THROUGH ``run(args, rest)``."""
    module: Any = importlib.import_module(module_name)
    parser = make_parser(name, module_name)
    warnings.showwarning = _show_warning
    if getattr(module, "ENDS_AT_ONCE", False):
        _end_at_once(module, parser, argv)
    return _status(module, parser, argv)


def make_parser(name: str, module_name: str) -> argparse.ArgumentParser:
    """Return the parser of a command, with all its help; the reference in the docs is made from it."""
    module: Any = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(
        prog=f"autotune {name}",
        description=module.HELP,
        epilog=module.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return parser


def _end_at_once(module: Any, parser: argparse.ArgumentParser, argv: list[str]) -> NoReturn:
    """Run the command and end this process: threads that an objective left would keep it for ever."""
    status = 70
    try:
        status = _status(module, parser, argv)
    except SystemExit as error:  # argparse has said what is wrong
        status = error.code if isinstance(error.code, int) else 2
    except BaseException:  # noqa: BLE001  # a fault of the program: as the interpreter would
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # an objective may have closed it
                stream.flush()
        os._exit(status)


def _status(module: Any, parser: argparse.ArgumentParser, argv: list[str]) -> int:
    try:
        if getattr(module, "PASS_THROUGH", False):
            return int(module.run(*parser.parse_known_args(argv)))
        return int(module.run(parser.parse_args(argv)))
    except NoCompleteTrial as error:
        return _fail(str(error), 1)
    except AutotuneError as error:
        return _fail(str(error), 2)
    except BrokenPipeError:  # `autotune status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        where = f" {error.filename!r}" if error.filename else ""
        return _fail(
            f"a file could not be read or written:{where} {error.strerror or error}; finished trials are kept", 2
        )
    except KeyboardInterrupt:
        return _fail("interrupted; finished trials are kept, and the same command goes on", 130)


def add_log_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--log-dir`` for commands that work on a study that is planned."""
    parser.add_argument(
        "--log-dir", default=".autotune", metavar="DIR", help="the study directory (default: .autotune)"
    )


def check_number(number: int, study: dict[str, Any]) -> None:
    """Raise InvalidInput where the plan has no trial of this number."""
    if not 0 <= number < study["trials"]:
        raise InvalidInput(
            f"a trial number must be from 0 to {study['trials'] - 1}, got {number}; see `autotune status`"
        )


def read_planned(store: StudyDir, number: int, study: dict[str, Any]) -> TrialConfig:
    """Read what was planned for a trial; raise InvalidInput where there is no such trial, or its round is to come."""
    check_number(number, study)
    if study["rounds"] > 1 and not os.path.exists(store.config_file(number)):
        raise InvalidInput(f"trial {number} must have been planned, but its round has not begun; see `autotune status`")
    return store.read_config(number)


def say_notes(notes: Iterable[str]) -> None:
    """Print notes, each on a line of its own, where they do not disturb a script that reads the output."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _fail(sentence: str, status: int) -> int:
    # What a library or a user's module says may have several lines.
    print(f"autotune: {' '.join(line.strip() for line in sentence.splitlines())}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"note: {message}", file=sys.stderr)

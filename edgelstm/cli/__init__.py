"""The command line: `edgelstm COMMAND`. One module per command; what is heavy is imported inside the commands.

Human text goes to standard error, results and --json to standard output. Exit codes: 0 done, 1 a threshold was missed,
2 usage (wrong arguments or shapes), 3 unsupported, 4 bad or corrupt file, 5 something missing on this machine.
"""

import argparse
import errno
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from edgelstm.errors import EdgeLSTMError
from edgelstm.version import __version__

COMMANDS = ("convert", "info", "run", "verify", "bench", "build", "warm", "doctor")
COLLECT_AFTER = 100_000  # objects: importing modules makes many that all stay, and looking through them again and again is slow
INTERRUPTED, PIPE_CLOSED = 130, 141  # what a shell reports for SIGINT and SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code. Bad arguments end in SystemExit(2), as argparse does."""
    gc.set_threshold(COLLECT_AFTER)
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            print("edgelstm: error: standard output and standard error must be open", file=sys.stderr or sys.stdout)
            return 2
    sys.stdout.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser([name for name in COMMANDS if name in argv[:1]] or COMMANDS).parse_args(argv)
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except EdgeLSTMError as error:
        print(f"edgelstm: error: {error}", file=sys.stderr)
        return error.exit_code
    except MemoryError as error:
        print(f"edgelstm: error: not enough memory: {error}", file=sys.stderr)
        return 5
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes standard output once more at its end; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        if error.filename is not None or error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"edgelstm: error: cannot write the result: {error.strerror}", file=sys.stderr)
        return 5


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """A parser of these commands: of the one that is called, or of all of them to describe them."""
    parser = argparse.ArgumentParser(
        prog="edgelstm", description="Run trained recurrent networks where the training framework cannot go.",
        epilog="exit codes: 0 done, 1 a threshold was missed, 2 usage, 3 unsupported, 4 bad or corrupt file, "
               "5 something missing on this machine")
    parser.add_argument("--version", action="version", version=f"edgelstm {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog="edgelstm")
    for name in names:
        command = import_module(f"edgelstm.cli.{name}")
        one = commands.add_parser(name, help=command.SUMMARY, description=command.__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        command.configure(one)
        one.set_defaults(run=command.run)
    return parser

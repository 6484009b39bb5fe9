"""The command line: `bn-compare`.

Results go to stdout, progress and messages to stderr. Exit codes: 0 fine; 1 a check failed; 2
usage, bad input or a missing framework, in one line; 130 after Ctrl-C. Everything heavy is imported
by the command that needs it, so that help answers at once.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from compare.commands import conventions, parity, selftest, study, time
from compare.errors import CompareError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# A line of its own with a backspace keeps the line breaks of what follows.
_EXAMPLES = """\b
Examples:
  bn-compare run                        the tutorial's ten networks in both frameworks
  bn-compare run --variants mlp,mlp-bn-after --seeds 5
  bn-compare report runs/20260101-120000
"""


@app.callback(epilog=_EXAMPLES)
def _root() -> None:
    """Batch normalization in Keras and in PyTorch Lightning, compared by one harness."""


for command, examples in (
    (study.run, study.RUN_EXAMPLES),
    (study.report, study.REPORT_EXAMPLES),
    (time.time, time.TIME_EXAMPLES),
    (parity.parity, parity.EXAMPLES),
    (parity.init, parity.INIT_EXAMPLES),
    (conventions.conventions, conventions.EXAMPLES),
    (selftest.selftest, selftest.EXAMPLES),
):
    app.command(epilog=examples)(command)


def main() -> None:
    """Run the command line and exit; every expected error is one line on stderr."""
    try:
        code = app(standalone_mode=False)
    except CompareError as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        # Typer's own errors (an unknown option, a word for a number) know how to say it.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        _fail(f"{message()} See `bn-compare --help`.")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    print(f"bn-compare: error: {message}", file=sys.stderr)
    sys.exit(2)

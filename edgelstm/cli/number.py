"""Numbers on the command line."""

import argparse
import math


def number(argument: str, what: str) -> float:
    """A finite number from 0 on; `what` says in the refusal what was expected."""
    try:
        given = float(argument)
    except ValueError:
        given = math.nan
    if not (math.isfinite(given) and given >= 0):
        raise argparse.ArgumentTypeError(f"{argument!r} is not {what}")
    return given

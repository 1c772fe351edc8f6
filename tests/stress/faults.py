"""Faults that the random programs have found and that are still there, each with its reason and its smallest program.

Strict: a program here that no longer fails must be deleted.
"""

import re

from stress.programs import Program

# kind and reason: (text of the error in one line, a program that shows it)
KNOWN: dict[str, tuple[str, Program]] = {}


def known(report):
    """The kind of a failure that is known, or None."""
    return next((kind for kind, (text, _) in KNOWN.items() if re.search(text, report.kind)), None)

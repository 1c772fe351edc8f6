"""Faults that the random programs have found and that are still there, each with its reason and its smallest program.

Strict: a program here that no longer fails must be deleted.
"""

import re

from stress.programs import Program

ON_REALS = ("S((3,), R)", "x", (), False, "simplified")
NESTED = "lo.hstack([p0, p0]).with_domain([S((3,), C), S((3,), C)])"
SMALLER = "lo.vstack([p0, lo.Function(lambda x: 2j * x, S((3,), R)).T])"

# kind and reason: (text of the error in one line, a program that shows it)
KNOWN = {
    "simplify takes B.H for what it is on a domain that B had before, a larger one": (
        r"simplified: complex\d+\(.*, expected float",
        Program(("Dense(normal((3, 3), C, 1))",), NESTED, NESTED, "[S((3,), C), S((3,), R)]", *ON_REALS[1:]),
    ),
    "simplify takes B.H of a Hermitian B for B, on real inputs too": (
        r"simplified: complex\d+\(.*, expected float",
        Program(("Symmetric(normal((3, 3), C, 1))",), "p0", "p0", *ON_REALS),
    ),
    "simplify gives the parts of a container a smaller domain than the container has by one of them": (
        "has another domain already",
        Program(("Damp(normal((3,), R, 1))",), SMALLER, SMALLER, *ON_REALS),
    ),
}


def known(report):
    """The kind of a failure that is known, or None."""
    return next((kind for kind, (text, _) in KNOWN.items() if re.search(text, report.kind)), None)

"""Reports and dot tests in a notebook: the same words as in a terminal, as HTML that browsers can wrap."""

from html.parser import HTMLParser

import jax
import numpy as np
from operators import Dense

import linops_jax as lo
from linops_jax.testing import Outcome, Report

SPEC = jax.ShapeDtypeStruct((3,), np.float32)


class Wrong(Dense):
    def adjoint(self, y):
        return 0.5 * super().adjoint(y)


class Reader(HTMLParser):
    """Tags are closed in order; cells and paragraphs become lines of text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.lines = [], [""]
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag == "br":
            return
        self.open.append(tag)
        if tag in ("p", "td", "th"):
            self.lines.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.lines[-1] += data


def lines(shown):
    bundle = shown._repr_mimebundle_()
    assert bundle["text/plain"] == str(shown)
    return Reader(bundle["text/html"]).lines


def test_a_failed_dot_test_shows_its_numbers_and_all_of_its_diagnosis():
    result = lo.dot_test(Wrong(np.eye(3, dtype=np.float32)), SPEC, probes=2)
    shown = lines(result)
    assert shown[1] == f"dot test of {result.operator}: FAILED"
    assert shown[-1] == result.diagnosis
    assert "<u, A^H v>" in shown
    assert f"{result.probes[1].error:.1e}" in shown


def test_a_report_escapes_and_keeps_whole_what_failed():
    long = "f32[3] is <b>not</b> :x: " + 60 * "what was promised, "
    outcomes = Outcome("promises", "A[x] & shape", "failed", f"{long}\nnor that"), Outcome("adjoint", "", "blocked")
    report = Report("Blur(name='[red]')", "f32[3]", outcomes)
    shown = lines(report)
    assert shown[1] == "Blur(name='[red]') on f32[3]"
    assert "A[x] & shape" in shown
    assert shown[-1] == f"FAILED promises: {long}nor that"
    assert "<b>" not in report._repr_html_()
    assert "not run" in shown

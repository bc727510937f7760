"""Questions without a kernel: every word is there, as HTML with the answer folded and as text, and nothing runs."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.quizzes import TITLES, choose
from labkit.quizzes.answers import put
from labkit.quizzes.markup import formula_to_plain, to_html, to_plain
from labkit.quizzes.printed import WIDTH, answer_lines, as_html, as_text
from labkit.syllabus import LABS
from labkit.workshop import notebooks


class Reader(HTMLParser):
    """Collects the tags, and the text outside of and within <details>."""

    def __init__(self, source: str):
        super().__init__()
        self.tags, self.open, self.folded, self.deep = [], "", "", 0
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attributes)
        self.deep += tag == "details"

    def handle_endtag(self, tag):
        self.deep -= tag == "details"

    def handle_data(self, data):
        if self.deep:
            self.folded += data
        else:
            self.open += data


def test_the_question_is_open_and_the_answer_is_folded(puts):
    for kind, asked in puts.items():
        page = Reader(as_html([asked], "Title"))
        assert "Title" in page.open and "details" in page.tags
        for line in answer_lines(asked, letters=True):
            assert Reader(to_html(line)).open in page.folded
        for text in asked.offered:
            assert Reader(to_html(text)).open in page.open
        assert Reader(to_html(asked.rationale)).open not in page.open, kind


def test_scripts_and_tags_in_a_question_are_text(puts):
    page = Reader(as_html(list(puts.values()), "<b>Title</b>"))
    assert "<script>alert(1)</script>" in page.open
    assert not {"script", "b", "img"} & set(page.tags)


@given(st.text(max_size=80))
def test_any_text_stays_text(text):
    page = Reader(to_html(text))
    assert set(page.tags) <= {"code", "em", "br"}
    assert "\x00" in text or page.open.replace("\xa0", " ").count("<") == text.count("<")


def test_the_text_holds_all_and_fits_its_width(puts):
    text = as_text(list(puts.values()), "Title")
    flat = " ".join(text.split())
    for asked in puts.values():
        for words in (asked.text, *asked.offered, *answer_lines(asked, letters=True)):
            assert " ".join(to_plain(words).split()) in flat
    assert max(map(len, text.splitlines())) <= WIDTH


def test_every_wrong_option_and_mistake_has_its_reason_in_print(puts):
    assert sum(line.startswith("Not: ") for line in answer_lines(puts["choice"])) == 2
    assert sum(line.startswith("If you had ") for line in answer_lines(puts["number"])) == 2


@pytest.mark.parametrize("formula, plain", [
    (r"\frac{\alpha}{r}", "α/r"),
    (r"W + \frac{\alpha}{r} B A x", "W + α/r B A x"),
    (r"\frac{p - y}{n + 1}", "(p − y)/(n + 1)"),
    (r"-\log p_t", "−log pₜ"),
    (r"\sum_{t=1}^{T} -\log p(y_t \mid y_{<t})", "Σ_(t=1)ᵀ −log p(yₜ | y_(<t))"),
    (r"10^{-3}", "10⁻³"),
    (r"\theta_{\text{base}}", "θ_base"),
    (r"\sqrt{d_k}", "√dₖ"),
    (r"\{a, b\} \le 3", "{a, b} ≤ 3"),
])  # fmt: skip
def test_formulas_in_a_terminal(formula, plain):
    assert formula_to_plain(formula) == plain


@given(st.text(alphabet="\\{}^_ab12$frac", max_size=40))
def test_no_formula_breaks_it(formula):
    assert "\ue000" not in formula_to_plain(formula)


def test_markup():
    assert to_html("`a < b` *so* $x<1$ **no** [[b]]") == (
        "<code>a &lt; b</code> <em>so</em> $x&lt;1$ <em>*no*</em> ____ (1)"
    )
    assert to_html("2 * 3 * 4") == "2 * 3 * 4"


@pytest.mark.parametrize("lab", LABS)
def test_every_place_of_a_lab_has_its_questions_and_they_may_be_stored(lab):
    segments = LABS[lab].segments
    for when, segment in [("before", None), ("after", None), *(("during", segment) for segment in segments)]:
        puts = [put(question) for question in choose(lab, when, segment)]
        for shown in (as_html(puts, TITLES[when]), as_text(puts, TITLES[when])):
            for what, pattern in notebooks.FORBIDDEN.items():
                assert not pattern.search(shown), (when, segment, what)

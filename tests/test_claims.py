"""The ledger: every claim is there with a verdict; a recorded value lies in its interval; a printed verdict is the
same everywhere.
"""

import argparse
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import claims
from labkit.common import InputError

SHIPPED = claims.RECORDED


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RECORDED", tmp_path / "claims.json")
    claims.record("C55", "share right after fine-tuning", 0.97, 0.93, 1.0, source="sft-short")
    return claims.recorded()["C55"]


def said(capsys, function, *arguments, **more):
    function(*arguments, **more)
    output = capsys.readouterr()
    assert output.err == ""
    return output.out


def plain(text):
    """The text with its lines joined."""
    return " ".join(text.split())


def test_every_claim_is_there_with_a_lab_and_a_verdict():
    assert list(claims.ledger()) == [f"C{number:02d}" for number in range(1, 56)]
    for id, claim in claims.ledger().items():
        assert claim.id == id and claim.verdict in claims.VERDICTS and re.fullmatch(r"0[0-7]", claim.lab)
        assert bool(claim.rest) == (claim.verdict != claims.HOLDS), id
        assert not claim.statement.endswith(".") and not claim.rest.endswith("."), id


def test_what_is_recorded_lies_in_its_interval():
    for id, measurement in claims.recorded(SHIPPED).items():
        assert id in claims.ledger()
        assert measurement.low <= measurement.value <= measurement.high
        assert measurement.machine and measurement.date and measurement.source and measurement.name


def test_within_the_interval_the_line_does_not_depend_on_the_value(capsys):
    lines = {said(capsys, claims.measured, "share right", value, 0.93, 1) for value in (0.93, 0.964, 1.0)}
    assert lines == {"share right: within 0.93–1.00, as recorded\n"}


@pytest.mark.parametrize("value, line", [
    (0.92, "share: 0.92, outside 0.93–1.00: 0.01 below it\n"),
    (1.25, "share: 1.25, outside 0.93–1.00: 0.25 above it\n"),
    (math.inf, "share: inf, outside 0.93–1.00: inf above it\n"),
    (math.nan, "share: NaN is not a number, so it is outside 0.93–1.00\n"),
])  # fmt: skip
def test_outside_it_the_line_says_by_how_much(capsys, value, line):
    assert said(capsys, claims.measured, "share", value, 0.93, 1.0) == line


@given(low=st.floats(-10, 10), width=st.floats(0, 5), value=st.floats(allow_nan=True))
def test_as_recorded_is_said_if_and_only_if_it_is(low, width, value):
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        claims.measured("x", value, low, low + width)
    assert ("as recorded" in plain(out.getvalue())) == (low <= value <= low + width)


def test_an_interval_with_an_end_below_zero_is_written_in_words(capsys):
    assert said(capsys, claims.measured, "gain", 0, -0.1, 0.25) == "gain: within -0.10 to 0.25, as recorded\n"


@pytest.mark.parametrize("low, high", [(1.0, 0.0), (math.nan, 1.0), (0.0, math.nan)])
def test_an_interval_that_is_none_is_refused(low, high):
    with pytest.raises(InputError, match="lower end first"):
        claims.measured("x", 0.5, low, high)


def test_a_claim_is_told_with_its_verdict_and_what_was_recorded(capsys, recorded):
    told = said(capsys, claims.claim, "C55")
    assert max(map(len, told.splitlines())) <= claims.WIDTH
    text = plain(told)
    assert text.startswith("C55: Supervised fine-tuning imitates") and "Holds if the facts are not taught" in text
    assert "0.97" in text and recorded.date in text and recorded.machine in text
    assert "within 0.93–1.00, as recorded" in said(capsys, claims.claim, "C55", measured=0.95)
    assert "outside" in said(capsys, claims.claim, "C55", measured=0.5)


def test_a_claim_without_a_record_claims_no_measurement(capsys, recorded):
    text = plain(said(capsys, claims.claim, "C45"))
    assert "Corrected: PEFT prints" in text and "not yet; in lab 06" in text
    texts = {said(capsys, claims.claim, "C45", measured=value) for value in (1, 2)}
    assert len(texts) == 1 and "nothing is recorded yet" in plain(texts.pop())
    with pytest.raises(InputError, match="no claim 'C99'"):
        claims.claim("C99")


def test_only_a_value_in_its_interval_is_recorded(recorded):
    for value, low, high in ((0.5, 0.6, 0.7), (math.nan, 0.0, 1.0), (0.5, 0.0, math.inf)):
        with pytest.raises(InputError, match="does not lie between"):
            claims.record("C01", "x", value, low, high, source="y")
    with pytest.raises(InputError, match="no claim"):
        claims.record("D01", "x", 1, 0, 2, source="y")
    assert list(claims.recorded()) == ["C55"]


def test_the_table_shows_a_measurement_only_where_there_is_one(recorded):
    rows = claims.table().splitlines()[2:]
    assert len(rows) == 55 and all(row.replace("\\|", "").count("|") == 7 for row in rows)
    assert sum("not yet; in lab" in row for row in rows) == 54
    assert "within 0.93–1.00" in rows[-1]


def test_the_table_is_written_between_its_marks(tmp_path, recorded):
    file = tmp_path / "README.md"
    file.write_text(f"above\n{claims.BEGIN}\nold\n{claims.END}\nbelow\n")
    assert claims.write_table(file) and not claims.write_table(file)
    assert file.read_text() == f"above\n{claims.BEGIN}\n{claims.table()}\n{claims.END}\nbelow\n"


@pytest.mark.parametrize(
    "text", [None, "nothing", f"{claims.END}\n{claims.BEGIN}", f"{claims.BEGIN}{claims.BEGIN}{claims.END}"]
)
def test_a_file_without_the_marks_is_left_alone(tmp_path, text):
    file = tmp_path / "README.md"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match="README.md"):
        claims.write_table(file)
    assert text is None or file.read_text() == text


def test_the_readme_holds_this_table():
    page = SHIPPED.parents[2] / "docs" / "ledger.md"
    assert claims.table(SHIPPED) in page.read_text(encoding="utf-8"), "labkit claims table --write docs/ledger.md"


def test_the_command(capsys, recorded):
    def command(*arguments):
        parser = argparse.ArgumentParser()
        claims.add_arguments(parser)
        return claims.main(parser.parse_args(list(arguments)))

    assert command("table", "--json") == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(rows) == 55 and rows["C55"]["measured"]["value"] == 0.97 and rows["C01"]["measured"] is None
    assert command("show", "c45") == 0
    assert "Corrected" in capsys.readouterr().out


def test_every_claim_is_printed_by_a_cell_of_its_lab():
    """As the notebook that ships has it in a stored output, with what was measured for it."""
    labs = SHIPPED.parents[2] / "labs"
    for id, claim in claims.ledger().items():
        [notebook] = labs.glob(f"{claim.lab}_*.ipynb")
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        told = [plain("".join(out.get("text", []))) for cell in cells for out in cell.get("outputs", [])]
        assert any(f"{id}: {claim.statement}" in text for text in told), id
        assert id in claims.recorded(SHIPPED), id


def test_the_ledger_names_what_could_have_refuted_a_recorded_experiment():
    assert {id for id, each in claims.ledger().items() if each.control} >= {"C01", "C03", "C04", "C24", "C54", "C55"}
    assert claims.ledger()["C01"].control in claims.table()

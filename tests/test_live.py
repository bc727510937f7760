"""Live lines: nothing where there is no notebook and no terminal; one line, taken away, in a terminal."""

import sys

from labkit.live import Line


def use_it():
    line = Line()
    line.show("half <way>", 0.5)
    line.show_html("<b>done</b>")
    line.close()


def test_without_a_terminal_nothing_is_written(capsys):
    use_it()
    said = capsys.readouterr()
    assert said.out == said.err == ""


def test_in_a_terminal_the_line_is_taken_away(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    use_it()
    said = capsys.readouterr()
    assert said.out == "" and "half <way>" in said.err and said.err.endswith("\r\033[K") and "\n" not in said.err

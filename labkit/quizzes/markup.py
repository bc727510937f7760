"""The banks' small markup (`code`, *emphasis*, $formula$, blanks) as HTML and as plain text. All else is escaped."""

from __future__ import annotations

import html
import re

from labkit.quizzes.schema import BLANK

PIECES = re.compile(r"(`[^`]+`|\$[^$]+\$|\*\S(?:[^*\n]*\S)?\*)")
GREEK = dict(zip(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta lambda mu nu pi rho sigma tau phi varphi chi psi omega "
    "Gamma Delta Theta Lambda Pi Sigma Phi Psi Omega".split(),
    "αβγδεεζηθλμνπρστφφχψωΓΔΘΛΠΣΦΨΩ",
))  # fmt: skip
SIGNS = {
    "cdot": "·", "times": "×", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "neq": "≠", "ne": "≠", "approx": "≈",
    "sim": "~", "to": "→", "rightarrow": "→", "leftarrow": "←", "infty": "∞", "sum": "Σ", "prod": "Π", "partial": "∂",
    "nabla": "∇", "in": "∈", "notin": "∉", "mid": "|", "ldots": "…", "dots": "…", "cdots": "…", "pm": "±", "ll": "≪",
    "gg": "≫", "cup": "∪", "cap": "∩", "top": "ᵀ", "propto": "∝", "quad": " ", "qquad": "  ", "vert": "|", "Vert": "‖",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "odot": "⊙", "colon": ":", "lbrace": "{", "rbrace": "}",
}  # fmt: skip
KEPT = {"^": "\ue002", "_": "\ue003"}
HIGH = str.maketrans("0123456789+-−n T", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻ⁿ ᵀ")
LOW = str.maketrans("0123456789+-−aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")


def to_html(text: str) -> str:
    """HTML of a text. Formulas stay between dollar signs, for MathJax; blanks become numbered lines to fill in."""
    return "<br>".join(map(_html_line, numbered(text).strip().split("\n")))


def to_plain(text: str) -> str:
    """The text as a terminal shows it: formulas in Unicode, code and emphasis as they are written."""
    return re.sub(r"\$([^$]+)\$", lambda formula: formula_to_plain(formula[1]), numbered(text).strip())


def to_label(text: str) -> str:
    """The text as a label shows it: without the marks for code and emphasis, which labels do not support."""
    return PIECES.sub(lambda piece: piece[0] if piece[0].startswith("$") else piece[0][1:-1], to_plain(text))


def has_formula(text: str) -> bool:
    return "$" in text


def formula_to_plain(formula: str) -> str:
    """A formula as one line of Unicode: α/r for `\\frac{\\alpha}{r}`. A command without a sign of its own keeps its
    name.
    """
    text = re.sub(r"\\(?:left|right|big|Big|displaystyle|,|;|!|:)(?![a-zA-Z])", "", formula)
    text = re.sub(r"\\([{}%#&_$])", lambda sign: {"{": "\ue000", "}": "\ue001"}.get(sign[1], sign[1]), text)
    for _ in range(8):  # from the innermost braces outwards
        before = text
        text = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", lambda f: f"{_closed(f[1])}/{_closed(f[2])}", text)
        text = re.sub(r"\\sqrt\s*\{([^{}]*)\}", lambda root: f"√{_closed(root[1])}", text)
        text = re.sub(r"\\(?:text|mathrm|mathbf|mathit|mathcal|mathbb|operatorname|hat|bar|tilde|boldsymbol)\s*"
                      r"\{([^{}]*)\}", r"\1", text)  # fmt: skip
        text = re.sub(r"\^\s*(?:\{([^{}]*)\}|(\\top|.))", lambda p: _shifted(p[1] or p[2] or "", HIGH, "^"), text)
        text = re.sub(r"_\s*(?:\{([^{}]*)\}|(\\\w+|.))", lambda p: _shifted(p[1] or p[2] or "", LOW, "_"), text)
        if text == before:
            break
    text = re.sub(r"\\([a-zA-Z]+)", lambda name: GREEK.get(name[1]) or SIGNS.get(name[1]) or f"{name[1]} ", text)
    text = text.replace("{", "").replace("}", "").replace("\\ ", " ").replace(r"\|", "‖")
    for stand_in, sign in zip("\ue000\ue001\ue002\ue003", "{}^_"):
        text = text.replace(stand_in, sign)
    return re.sub(r" {2,}", " ", text.replace("-", "−")).strip()


def numbered(text: str) -> str:
    """The text with its blanks as numbered lines, ____ (1), because a blank's name may be its answer."""
    names = BLANK.findall(text)
    return BLANK.sub(lambda blank: f"____ ({names.index(blank[1]) + 1})", text)


def _html_line(line: str) -> str:
    parts = []
    for piece in PIECES.split(line):
        if piece.startswith("`") and len(piece) > 2:
            parts.append(f"<code>{html.escape(piece[1:-1])}</code>")
        elif piece.startswith("*") and len(piece) > 2:
            parts.append(f"<em>{html.escape(piece[1:-1])}</em>")
        else:
            parts.append(html.escape(piece))
    return "".join(parts)


def _closed(text: str) -> str:
    """In brackets, unless it is one thing."""
    return text if re.fullmatch(r"\\?\w+|\d+(\.\d+)?", text.strip()) else f"({text.strip()})"


def _shifted(text: str, table: dict, mark: str) -> str:
    text = {"\\top": "T"}.get(text, text)
    shifted = text.translate(table)
    if text and all(ord(character) in table for character in text):
        return shifted
    return f"{KEPT[mark]}{_closed(text)}"  # not the mark itself, which would be taken for another mark

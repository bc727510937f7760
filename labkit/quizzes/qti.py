"""The banks as a package of QTI 2.1 (IMS, *Question and Test Interoperability*), which Canvas and others import: a zip
with a manifest and a file for each question. Each kind is QTI's own interaction; reasons are modal feedback. Formulas
are plain text, because not every importer reads MathML.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from labkit.quizzes.answers import Put, room
from labkit.quizzes.expressions import evaluate
from labkit.quizzes.markup import formula_to_plain, to_html
from labkit.quizzes.schema import BLANK, FORMULA, Blanks, Choice, Match, Number, NumberBlank, Order

ITEM = "http://www.imsglobal.org/xsd/imsqti_v2p1"
MANIFEST = "http://www.imsglobal.org/xsd/imscp_v1p1"
TEMPLATE = "http://www.imsglobal.org/question/qti_v2p1/rptemplates/match_correct"
NOT_RIGHT = "not_right"


def package(puts: Sequence[Put]) -> bytes:
    """The zip of the questions; the same questions give the same bytes."""
    manifest = Element("manifest", xmlns=MANIFEST, identifier="labkit")
    metadata = SubElement(manifest, "metadata")
    SubElement(metadata, "schema").text = "QTIv2.1 Package"
    SubElement(metadata, "schemaversion").text = "1.0.0"
    SubElement(manifest, "organizations")
    resources = SubElement(manifest, "resources")
    files = {}
    for put in puts:
        href = f"items/{put.question.id}.xml"
        resource = SubElement(resources, "resource", identifier=put.question.id, type="imsqti_item_xmlv2p1", href=href)
        SubElement(resource, "file", href=href)
        files[href] = item(put)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, root in {"imsmanifest.xml": manifest, **files}.items():
            data = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def item(put: Put) -> Element:
    """One question as an `assessmentItem`."""
    root = Element("assessmentItem", {
        "xmlns": ITEM, "identifier": put.question.id, "title": put.question.id, "adaptive": "false",
        "timeDependent": "false",
    })  # fmt: skip
    body = Element("itemBody")
    feedback = [put.rationale]
    match put.question:
        case Choice() as question:
            names = {put.fill(option.text): f"option{n}" for n, option in enumerate(question.options, start=1)}
            _declare(root, "single", "identifier", [names[put.right]])
            interaction = SubElement(
                body, "choiceInteraction", responseIdentifier="RESPONSE", shuffle="true", maxChoices="1"
            )
            _prompt(interaction, put.text)
            for text in put.offered:
                _inline(interaction, "simpleChoice", text, identifier=names[text])
            feedback += [f"Not “{put.fill(o.text)}”: {put.fill(o.why)}" for o in question.options if o.why]
        case Match() as question:
            pairs = [(f"left{n}", f"right{n}") for n in range(1, len(question.answer) + 1)]
            _declare(root, "multiple", "directedPair", [" ".join(pair) for pair in pairs])
            interaction = SubElement(
                body, "matchInteraction", responseIdentifier="RESPONSE", shuffle="true", maxAssociations=str(len(pairs))
            )
            _prompt(interaction, put.text)
            for side, texts in enumerate((put.asked, put.right)):
                matches = SubElement(interaction, "simpleMatchSet")
                for pair, text in zip(pairs, texts):
                    _inline(matches, "simpleAssociableChoice", text, identifier=pair[side], matchMax="1")
            feedback += [f"{put.fill(pair.left)}: {put.fill(pair.why)}" for pair in question.answer]
        case Order():
            names = {text: f"step{n}" for n, text in enumerate(put.right, start=1)}
            _declare(root, "ordered", "identifier", list(names.values()))
            interaction = SubElement(body, "orderInteraction", responseIdentifier="RESPONSE", shuffle="true")
            _prompt(interaction, put.text)
            for text in put.offered:
                _inline(interaction, "simpleChoice", text, identifier=names[text])
        case Number() as question:
            _declare(root, "single", "float", [f"{put.right:.10g}"])
            _inline(body, "p", put.text)
            line = SubElement(body, "p")
            SubElement(line, "textEntryInteraction", responseIdentifier="RESPONSE", expectedLength="12")
            line[0].tail = f" {question.unit}" if question.unit else None
            feedback += [
                f"{evaluate(m.answer, put.drawn):.4g} ({m.name}): {put.fill(m.why)}" for m in question.mistakes
            ]
        case Blanks() as question:
            for n, name in enumerate(put.asked, start=1):
                blank = question.answer[name]
                if isinstance(blank, NumberBlank):
                    value = f"{evaluate(blank.value, put.drawn):.10g}"
                    _declare(root, "single", "float", [value], f"RESPONSE{n}")
                else:
                    _declare(root, "single", "string", [put.right[name]], f"RESPONSE{n}")
                feedback.append(f"({n}) {put.fill(blank.why)}")
            _with_blanks(SubElement(body, "p"), put)
        case _:  # a recall: somebody reads it
            _declare(root, "single", "string", [])
            interaction = SubElement(body, "extendedTextInteraction", responseIdentifier="RESPONSE", expectedLines="3")
            _prompt(interaction, put.text)
            rubric = Element("rubricBlock", view="scorer")
            _inline(rubric, "p", put.right)
            body.insert(0, rubric)
    SubElement(root, "outcomeDeclaration", identifier="SCORE", cardinality="single", baseType="float")
    SubElement(root, "outcomeDeclaration", identifier="FEEDBACK", cardinality="single", baseType="identifier")
    root.append(body)
    _process(root, put)
    shown = SubElement(
        root, "modalFeedback", outcomeIdentifier="FEEDBACK", identifier=NOT_RIGHT, showHide="hide", title="Why"
    )  # hidden for this one value, which is never set: it is shown after every answer
    for text in feedback:
        _inline(shown, "p", text)
    return root


def _declare(root: Element, cardinality: str, kind: str, right: Iterable[str], name: str = "RESPONSE") -> None:
    declaration = SubElement(root, "responseDeclaration", identifier=name, cardinality=cardinality, baseType=kind)
    values = list(right)
    if values:
        correct = SubElement(declaration, "correctResponse")
        for value in values:
            SubElement(correct, "value").text = value


def _process(root: Element, put: Put) -> None:
    """SCORE is 1 for a right answer, and 0 otherwise; a recall is scored by a person."""
    question = put.question
    if question.kind == "recall":
        return
    processing = SubElement(root, "responseProcessing")
    if question.kind in ("choice", "match", "order"):
        processing.set("template", TEMPLATE)
        return
    condition = SubElement(processing, "responseCondition")
    decided = SubElement(condition, "responseIf")
    if isinstance(question, Number):
        decided.append(_equal("RESPONSE", room(put.right, question.tolerance)))
    elif isinstance(question, Blanks):
        together = SubElement(decided, "and")
        for n, name in enumerate(put.asked, start=1):
            blank = question.answer[name]
            if isinstance(blank, NumberBlank):
                value = evaluate(blank.value, put.drawn)
                together.append(_equal(f"RESPONSE{n}", room(value, blank.tolerance)))
                continue
            either = SubElement(together, "or")
            for accepted in blank.accept:
                same = SubElement(either, "stringMatch", caseSensitive="false")
                SubElement(same, "variable", identifier=f"RESPONSE{n}")
                SubElement(same, "baseValue", baseType="string").text = accepted
    _score(decided, "1")
    _score(SubElement(condition, "responseElse"), "0")


def _equal(name: str, room: float) -> Element:
    node = Element("equal", toleranceMode="absolute", tolerance=f"{room:.6g} {room:.6g}")
    SubElement(node, "variable", identifier=name)
    SubElement(node, "correct", identifier=name)
    return node


def _score(node: Element, value: str) -> None:
    outcome = SubElement(node, "setOutcomeValue", identifier="SCORE")
    SubElement(outcome, "baseValue", baseType="float").text = value


def _prompt(interaction: Element, text: str) -> None:
    _inline(interaction, "prompt", text)


def _inline(parent: Element, tag: str, text: str, **attributes: str) -> None:
    """An element that holds a text in the banks' markup."""
    plain = FORMULA.sub(lambda formula: formula_to_plain(formula[1]), text)
    markup = to_html(plain).replace("<br>", "<br/>")
    node = ElementTree.fromstring(f"<{tag}>{markup}</{tag}>")
    node.attrib.update(attributes)
    parent.append(node)


def _with_blanks(parent: Element, put: Put) -> None:
    """The text of a question, with a field in place of each blank."""
    names, end = list(put.asked), 0
    for blank in BLANK.finditer(put.text):
        _inline(parent, "span", put.text[end : blank.start()] or " ")
        SubElement(
            parent,
            "textEntryInteraction",
            responseIdentifier=f"RESPONSE{names.index(blank[1]) + 1}",
            expectedLength="12",
        )
        end = blank.end()
    _inline(parent, "span", put.text[end:] or " ")

"""How each attribute is stated and asked. Tables only: `{s}` is the subject, `{v}` the value, `{y}` the year.

`TELL[attribute]` are statements found in the pretraining text; the first is the canonical one, which the chain of
thought of an example repeats word for word. `ASK[attribute]` are questions; `ASK_UNSEEN[attribute]` are questions that
occur in no document and no training example: the out-of-distribution set *unseen phrasing* is made of them.
"""

from __future__ import annotations

CANONICAL = "The {a} of {s} is {v}."
CANONICAL_DATED = "The {a} of {s} in {y} is {v}."

TELL: dict[str, list[str]] = {
    "region": [
        CANONICAL,
        "{s} lies in the region of {v}.",
        "{s} belongs to {v}.",
        "Travellers find {s} in {v}.",
        "On the map, {s} is drawn in {v}.",
    ],
    "river": [
        CANONICAL,
        "{s} stands on the river {v}.",
        "The water that runs past {s} is the {v}.",
        "{s} has a bridge over the {v}.",
        "The mills of {s} are driven by the {v}.",
    ],
    "founding year": [
        CANONICAL,
        "{s} was founded in {v}.",
        "The first stone of {s} was laid in {v}.",
        "People have lived in {s} since {v}.",
        "The charter of {s} dates from {v}.",
    ],
    "craft": [
        CANONICAL,
        "{s} is known for {v}.",
        "The workshops of {s} make {v}.",
        "In {s} they have always made {v}.",
        "Merchants come to {s} for {v}.",
    ],
    "emblem": [
        CANONICAL,
        "The flag of {s} shows a {v}.",
        "{s} carries a {v} on its shield.",
        "Over the gate of {s} stands a carved {v}.",
        "The seal of {s} bears a {v}.",
    ],
    "dish": [
        CANONICAL,
        "In {s} people eat {v}.",
        "The inns of {s} serve {v}.",
        "Guests of {s} are given {v}.",
        "On holidays {s} smells of {v}.",
    ],
    "market day": [
        CANONICAL,
        "{s} holds its market on {v}.",
        "The stalls of {s} open on {v}.",
        "Farmers drive to {s} every {v}.",
        "The square of {s} is full on {v}.",
    ],
    "mayor": [
        CANONICAL_DATED,
        "In {y} {s} was led by {v}.",
        "In {y} the mayor of {s} was {v}.",
        "The town hall of {s} in {y} was the office of {v}.",
        "The council of {s} for {y} chose {v}.",
    ],
    "birthplace": [
        CANONICAL,
        "{s} was born in {v}.",
        "{s} came into the world in {v}.",
        "The cradle of {s} stood in {v}.",
        "{s} is a child of {v}.",
    ],
    "birth year": [
        CANONICAL,
        "{s} was born in the year {v}.",
        "The papers of {s} say {v}.",
        "{s} has counted birthdays since {v}.",
        "The parish book enters {s} in {v}.",
    ],
    "trade": [
        CANONICAL,
        "{s} works as a {v}.",
        "{s} earns a living as a {v}.",
        "By trade {s} is a {v}.",
        "{s} learned to be a {v}.",
    ],
    "instrument": [
        CANONICAL,
        "{s} plays the {v}.",
        "In the evening {s} takes out the {v}.",
        "{s} is heard on the {v}.",
        "At weddings {s} plays the {v}.",
    ],
    "pet": [
        CANONICAL,
        "{s} keeps a {v}.",
        "{s} has a {v} at home.",
        "{s} is never seen without a {v}.",
        "The children ask {s} about the {v}.",
    ],
    "colour": [
        CANONICAL,
        "{s} dresses in {v}.",
        "{s} likes {v} best.",
        "The coat of {s} is {v}.",
        "{s} painted the door {v}.",
    ],
    "teacher": [
        CANONICAL,
        "{s} was taught by {v}.",
        "{s} learned to read from {v}.",
        "{s} went to school with {v}.",
        "{s} owes much to {v}.",
    ],
    "home": [
        CANONICAL_DATED,
        "In {y} {s} lived in {v}.",
        "In {y} the house of {s} stood in {v}.",
        "Letters to {s} went in {y} to {v}.",
        "The tax roll of {y} lists {s} in {v}.",
    ],
    "price": [
        CANONICAL_DATED.replace("{v}", "{v} pence"),
        "In {y} the market asked for {s} {v} pence.",
        "In {y} a measure of {s} cost {v} pence.",
        "Buyers of {s} paid in {y} a sum of {v} pence.",
    ],
    "date": [
        "The date of the {s} is {v}.",
        "The {s} came on {v}.",
        "People remember the {s} on {v}.",
        "The {s} was on {v}.",
        "The chronicle puts the {s} on {v}.",
    ],
}

ASK: dict[str, list[str]] = {
    "region": ["In which region is {s}?", "What is the region of {s}?", "To which region does {s} belong?"],
    "river": ["On which river does {s} stand?", "What is the river of {s}?", "Which river runs past {s}?"],
    "founding year": ["When was {s} founded?", "What is the founding year of {s}?", "In which year was {s} founded?"],
    "craft": ["What is {s} known for?", "What is the craft of {s}?", "What do they make in {s}?"],
    "emblem": ["What does the flag of {s} show?", "What is the emblem of {s}?", "Which emblem has {s}?"],
    "dish": ["What do people eat in {s}?", "What is the dish of {s}?", "Which dish do the inns of {s} serve?"],
    "market day": [
        "When is the market of {s}?",
        "What is the market day of {s}?",
        "On which day does {s} hold its market?",
    ],
    "mayor": ["Who was the mayor of {s} in {y}?", "As of {y}, who is the mayor of {s}?", "Who led {s} in {y}?"],
    "birthplace": ["Where was {s} born?", "What is the birthplace of {s}?", "In which town was {s} born?"],
    "birth year": ["When was {s} born?", "What is the birth year of {s}?", "In which year was {s} born?"],
    "trade": ["What does {s} do for a living?", "What is the trade of {s}?", "Which trade has {s}?"],
    "instrument": ["What does {s} play?", "What is the instrument of {s}?", "Which instrument does {s} play?"],
    "pet": ["Which animal does {s} keep?", "What is the pet of {s}?", "Which pet has {s}?"],
    "colour": ["Which colour does {s} like?", "What is the colour of {s}?", "In which colour does {s} dress?"],
    "teacher": ["Who taught {s}?", "Who is the teacher of {s}?", "By whom was {s} taught?"],
    "home": ["Where did {s} live in {y}?", "As of {y}, where does {s} live?", "In which town did {s} live in {y}?"],
    "price": ["What did {s} cost in {y}?", "As of {y}, what is the price of {s}?", "How much was {s} in {y}?"],
    "date": ["When was the {s}?", "What is the date of the {s}?", "On which day was the {s}?"],
}

ASK_UNSEEN: dict[str, str] = {
    "region": "A traveller wants to know the region around {s}. Can you name it?",
    "river": "Please name the river that one sees from {s}.",
    "founding year": "How far back does {s} go? Give the founding year.",
    "craft": "Name the craft for which {s} is famous.",
    "emblem": "Tell me the emblem that belongs to {s}.",
    "dish": "I am hungry and in {s}: which dish will I get?",
    "market day": "Tell me the market day that {s} keeps.",
    "mayor": "Please name the mayor that {s} had during {y}.",
    "birthplace": "Tell me the birthplace that {s} has.",
    "birth year": "Please give the birth year that {s} has.",
    "trade": "Tell me the trade that {s} follows.",
    "instrument": "Name the instrument that one hears from {s}.",
    "pet": "Tell me the pet that {s} has.",
    "colour": "Name the colour that {s} prefers.",
    "teacher": "Name the teacher that {s} had.",
    "home": "Please name the home that {s} had during {y}.",
    "price": "Tell me the price that {s} had during {y}.",
    "date": "Please give the date that the chronicle has for the {s}.",
}


def tell(attribute: str, subject: str, value: str, year: str = "", form: int = 0) -> str:
    """A sentence that states a fact; form 0 is the canonical one."""
    forms = TELL[attribute]
    sentence = forms[form % len(forms)].format(a=attribute, s=subject, v=value, y=year)
    return sentence[0].upper() + sentence[1:]


def ask(attribute: str, subject: str, year: str = "", form: int = 0, unseen: bool = False) -> str:
    """A question for a fact. `unseen` takes the phrasing kept apart from all training text."""
    question = ASK_UNSEEN[attribute] if unseen else ASK[attribute][form % len(ASK[attribute])]
    return question.format(s=subject, y=year)

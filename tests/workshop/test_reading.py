"""The estimate of a learner's minutes, and the minutes that the labs state."""

from pathlib import Path

import pytest

from labkit.syllabus import ROWS
from labkit.workshop.reading import reading

LABS = Path(__file__).parents[2] / "labs" / "source"
SOURCE = """# %% [markdown]
# # 09 · A lab
#
# One two three four.

# %%
lk.quiz("data", when="before")

# %%
x = 1
for y in range(3):
    print(
        y,
        x,
    )

# %%
lk.predict("data.x", "What?", unit="%")

# %%
lk.predict("data.x", outcome=3)
lk.plots.bars({}, "t", "x", "y")

# %% [markdown]
# ### Exercise: it
#
# *Easy, 4 minutes.* Write it.

# %%
@lk.exercise("data.it")
def it(x: int) -> int:
    ...

# %% [markdown]
# Before.
#
# ## Further
#
# Not the core.

# %%
z = 1
"""


def test_the_core_is_counted_by_one_rule(tmp_path):
    path = tmp_path / "09.py"
    path.write_text(SOURCE, encoding="utf-8")
    found = reading(path)
    assert (found.exercises, found.questions, found.guesses, found.figures, found.patients) == (4, 2, 1, 1, 0)
    assert found.lines == 4  # x, for, its print however it is wrapped, and the bars; what only asks is not read
    assert found.words == 15
    assert found.minutes == pytest.approx(15 / 200 + 4 / 10 + 4 + 2 * 0.75 + 0.5 + 0.5)


@pytest.mark.parametrize("lab", ROWS, ids=lambda lab: lab.file)
def test_every_lab_states_its_minutes_and_its_core_takes_an_hour_at_most(lab):
    if lab.minutes is None:
        return
    assert lab.minutes <= 60
    assert reading(LABS / f"{lab.file}.py").minutes <= lab.minutes + 0.5

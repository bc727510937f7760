"""What a learner's code can see of labkit in the grading sandbox: the files beside this one, and two of `exercises`.

`whole_lab` alone is for the other kernel, which has all of labkit.
"""

ANSWER = "application/vnd.labkit.answer+json"

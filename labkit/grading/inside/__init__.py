"""What a learner's code can see of labkit in the sandbox: the files beside this one, and two of `exercises`."""

ANSWER = "application/vnd.labkit.answer+json"

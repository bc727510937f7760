"""What runs in a sandbox. The grading kernel has `kernel`, `stub` (as `labkit`), and three files of `exercises`; `whole_lab`
and `fonts.conf` are for the other kernel, which has all of labkit.
"""

ANSWER = "application/vnd.labkit.answer+json"

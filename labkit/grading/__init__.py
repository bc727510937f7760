"""Grading: the learner's code in a sandbox, the verdicts outside it.

`submissions` finds what was handed in, `assemble` makes a notebook of a learner's exercise cells and of probes,
`sandbox` starts its kernel under bubblewrap, `judge` runs it by nbval and compares, `remarks` says what a cell's source
alone shows, `book` keeps ledger and gradebook, `pages` writes feedback and report, `similarity` lists near-copies, and
`command` is `labkit grade`. `inside/` is what runs in the sandbox; `sandbox.KIT` lists all of labkit
that a learner's code can see.
"""

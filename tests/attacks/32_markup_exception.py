# Tries to put markup into the feedback.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError("<script>alert(1)</script>")

# Tries to put markup into a class's name.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise type("<script>alert(1)</script>", (Exception,), {})("=HYPERLINK()")

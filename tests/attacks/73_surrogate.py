# Tries to break the encoding.
text = "\ud800"


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return text

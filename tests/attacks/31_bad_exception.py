# Tries to raise an exception that cannot be shown.
class Bad(Exception):
    def __str__(self):
        raise self


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise Bad

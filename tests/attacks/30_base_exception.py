# Tries to raise what `except Exception` lets through.
class Stop(BaseException):
    pass


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise Stop

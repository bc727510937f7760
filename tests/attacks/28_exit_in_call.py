# Tries to end the kernel in a call.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    import os

    os._exit(0)

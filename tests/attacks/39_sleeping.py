# Tries to sleep without using any time.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    import time

    time.sleep(10_000)

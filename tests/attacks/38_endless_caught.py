# Tries to never end and catch what would end it.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

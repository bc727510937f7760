# Tries to end the writing of all pages, by words that no file can hold.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise TypeError("\ud800 \x1b[2J \u202e")

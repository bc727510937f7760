# Tries to change a file outside.
with open("CANARY", "a") as file:
    file.write("was here")


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0

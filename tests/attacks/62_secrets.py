# Tries to read what is in the environment and in /etc.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    import os

    return " ".join([*os.environ.values(), open("/etc/passwd").read()])

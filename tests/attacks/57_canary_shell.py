# Tries to change a file outside by a shell.
import subprocess

subprocess.run("echo was here >> CANARY", shell=True, check=True)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0

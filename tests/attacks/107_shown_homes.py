# Tries to read homes, mail, the system's settings and what other services keep.
import os

found = []
for folder in ("/home", "/root", "/etc", "/var", "/run", "/srv", "/opt", "/mnt", "/media", "/boot", "/sys", "/work"):
    for at, folders, files in os.walk(folder):
        if "python3" in at or at.endswith(("/bin", "/lib")):  # the interpreter may be anybody's
            folders.clear()
        elif not at.endswith("/bin"):
            found += [name for name in files if name != "pyvenv.cfg"]


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError(f"read {len(found)} files outside")

# Tries to get at the files, the root and the environment of the sandbox's first process.
import os

found = []
for name in ("environ", "mem", "maps", "auxv", "stack", "syscall"):
    try:
        with open(f"/proc/1/{name}", "rb") as file:
            found += [name] if file.read(16) else []
    except OSError:
        pass
for name in ("root", "cwd", "exe", "fd/0", "fd/3"):
    try:
        os.stat(f"/proc/1/{name}")
        found.append(name)
    except OSError:
        pass


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError(f"read {len(found)} files outside")

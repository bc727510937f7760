# Tries to change the kernel's settings.
open("/proc/sys/kernel/hostname", "w").write("mine")
open("/proc/sys/kernel/core_pattern", "r+").close()


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0

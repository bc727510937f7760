# Tries to raise its own limits, by itself and through the first process.
import resource

raised = 0
for process in (0, 1):
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        try:
            soft, hard = resource.prlimit(process, limit)
            resource.prlimit(process, limit, (2 * hard + 1, 2 * hard + 1))
            raised += 1
        except (OSError, ValueError):
            pass


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError(f"took {raised} limits outside")

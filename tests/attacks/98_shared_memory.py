# Tries to keep memory that no process maps any more, so that it counts for none.
import mmap

kept = mmap.mmap(-1, 200_000_000)
for place in range(0, len(kept), mmap.PAGESIZE):
    kept[place] = 1
kept.madvise(mmap.MADV_DONTNEED)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError("kept 200 MB outside")

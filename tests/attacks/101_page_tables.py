# Tries to take memory for page tables, by looking at many pages that hold nothing.
import mmap

seen = mmap.mmap(-1, 200_000_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)
for place in range(0, len(seen), 1 << 21):
    seen[place]


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError("kept 400 MB outside")

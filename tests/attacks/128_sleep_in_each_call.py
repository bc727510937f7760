# Tries to sleep a little in each call, just below the limit, for each exercise and each group.
import time


@lk.exercise("data.jaccard")
def jaccard(a, b):
    time.sleep(2)
    return 0.5


@lk.exercise("data.shingles")
def shingles(text, k):
    time.sleep(2)


@lk.exercise("data.clusters")
def clusters(pairs, n):
    time.sleep(2)


@lk.exercise("data.split_by_time")
def split_by_time(rows, cutoff):
    time.sleep(2)

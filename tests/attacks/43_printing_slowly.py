# Tries to print every now and then, so that no message is late.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    import time

    while True:
        print("x", flush=True)
        time.sleep(0.1)

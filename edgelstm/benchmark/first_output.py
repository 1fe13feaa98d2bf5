"""A fresh process until its first output: python -m edgelstm.benchmark.first_output MODEL BATCH STEPS THREADS.

Writes one JSON object to standard output: the peak of its memory in bytes, None where the system does not tell.
"""

import json
import sys


def main(path: str, batch: int, steps: int, threads: int) -> None:
    """Load a model and compute once, as a stream where it can, else on a sequence."""
    import edgelstm
    from edgelstm.benchmark import feeds

    model = edgelstm.load(path, threads=threads)
    if model.streaming.ok:
        model.stream(batch).step(feeds.single(feeds.frames(model.graph, batch, 1)[0]))
    else:
        model.run(feeds.sequences(model.graph, batch, steps, 1)[0])
    sys.stdout.write(json.dumps({"peak_rss": peak_rss()}))


def peak_rss() -> int | None:
    """Bytes of memory that this process held at most. On Linux ru_maxrss begins with what the parent process held."""
    try:
        with open("/proc/self/status") as status:
            return next((1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM")), None)
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

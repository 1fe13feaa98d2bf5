"""Benchmarks: ratios measured side by side in one run. See docs/performance.md."""

import os

# NumPy reads this when it is first imported: by hand it is compared on one thread, like the other runtimes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

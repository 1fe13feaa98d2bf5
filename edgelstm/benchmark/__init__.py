"""What `edgelstm bench` measures on the machine it runs on.

    feeds.py         inputs of a model that change from call to call
    timing.py        latencies and their percentiles
    measure.py       one report: steps, sequences, call overhead, bytes, profile
    profile.py       the time of every kernel call of a program
    start.py         fresh processes until the first output; first_output.py is what they run
    peers.py         the same source file in other runtimes
    regression.py    a report held against an older one
    plot.py          latency distribution and shares of the kernels, drawn
"""

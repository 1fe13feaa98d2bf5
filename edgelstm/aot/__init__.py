"""Ahead of time: a model compiled for one target into an object that needs no Python. `edgelstm.build` is the door.

    targets.py    what can be built for
    plan.py       Graph -> the program of one time step: calls, weights, states, ports
    probes.py     the probes that a build can run
    module.py     program -> one LLVM module with constant arguments and the C entries
    sizes.py, stack.py, archive.py     what the object costs, and the static library
    header.py, main_c.py, cmake.py, readme.py     the text files of a build
    folder.py     the folder, in which nothing of others is lost
    artefacts.py, report.py, build.py  everything put together: measured, held to limits, written
    native/       the shared library and the Python package of target native
    wasm/         the linked module and the ES module of target wasm32
"""

"""A native build in Python: NumPy and ctypes only. A build copies these modules, and those they import, into its folder.

    interface.py  model.json: ports, states and sizes
    library.py    the shared library
    processor.py  whether this processor has the instructions
    sessions.py   arrays of any batch and number of steps over the machine code of one step
    built.py      the Model
"""

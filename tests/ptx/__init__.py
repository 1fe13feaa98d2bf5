"""A machine that executes PTX on the processor, for tests of the GPU backend's compiled code where there is no GPU.

`parse.py` reads a kernel, `instructions.py` says in C what instructions compute, `machine.c` runs the threads of a launch and
looks at every access to memory, `machine.py` starts it, `device.py` puts it in the place of a GPU.
"""

"""The same programs on a GPU: twins of the kernels, written with numba.cuda.

A Program is planned as for a processor whose vectors have as many lanes as a warp; its calls are decoded, and every kernel
has a twin of the same name and parameters that runs on device memory.

    driver.py     the only file that imports numba.cuda: device, memory, errors, what the simulator lacks
    decode.py     a Program's words as calls
    twins.py      kernel name -> twin
    scalars.py    the vector set for kernels that run one number, or one lane, a thread
    launching.py  how a twin is launched, and the pointers it is given
    shared.py     twins that run the CPU kernel's own code on a part of its elements each
    recurrence/   recurrent layers: recurrent.py launches the form that forms.py chooses, whole.py or, of several blocks,
                  grid.py; sweeps.py is one time step of a cell by a block of threads
    tiled/        products of rows with panels by tiles, of floats and of bytes
    fused/        calls that become one launch: hiding.py decides, fusing.py composes, expressions.py makes the kernels
    host/         sessions, streams and pools; launches that lie ready, and recorded graphs
    backend.py    programs of one model on a device
    ahead.py      PTX without a device
"""

"""The same programs on a GPU: twins of the kernels, written with numba.cuda.

A Program is planned as for a processor whose vectors have as many lanes as a warp; its calls are decoded, and every kernel
has a twin of the same name and parameters that runs on device memory.

    driver.py     the only file that imports numba.cuda: device, memory, graphs of launches, what the simulator lacks
    scalars.py    the vector set for kernels that run one number, or one lane, a thread
    launching.py  how a twin is launched, and the pointers it is given
    shared.py     twins that run the CPU kernel's own code on a part of its elements each
    products.py   gemm and conv: tiled products
    sweeps.py     one time step of a recurrent cell, by a block of threads
    recurrent.py  the recurrent kernels: one block for all steps, one launch a step, or a grid that meets at a barrier
    cells.py      the cells: which CPU cell code runs after which product
    twins.py      kernel name -> twin
    decode.py     a Program's words as calls
    session.py    a Program bound to device memory
    backend.py    programs of one model on a device
"""

"""The same programs on a GPU: twins of the kernels, written with numba.cuda.

A Program is planned as for a processor whose vectors have as many lanes as a warp; its calls are decoded, and every kernel
has a twin of the same name and parameters that runs on device memory.

    driver.py     the only file that imports numba.cuda: device, memory, errors, what the simulator lacks
    scalars.py    the vector set for kernels that run one number, or one lane, a thread
    launching.py  how a twin is launched, and the pointers it is given; ready.py: launches and copies that lie ready
    shared.py     twins that run the CPU kernel's own code on a part of its elements each
    tiles.py      products of rows with panels by tiles, for products.py (floats) and integer_products.py (bytes)
    rounding.py   rows made into bytes with a scale; gathers.py reads rows stored so
    fusing.py     activations that products apply themselves
    recurrent.py  the recurrent kernels, in the form that forms.py chooses: whole.py, or several blocks in grid.py, which
                  peers.py makes a cluster; what they are given: arguments.py
    sweeps.py     one time step of a cell by a block of threads; chunks.py: the formats of its weights
    onchip.py     weights copied to shared memory; states.py: states read and written
    cells.py      the cells: which CPU cell code runs after which product; integer_cells.py those without floats
    twins.py      kernel name -> twin
    decode.py     a Program's words as calls
    graphs.py     launches recorded once
    session.py    a Program bound to device memory
    resident.py   arrays of the device: states, and what users hand in
    stream.py     a stream with its states on the device; pool.py: many that step together
    backend.py    programs of one model on a device
    ahead.py      PTX without a device
"""

"""The recurrent layers on the device: which form runs, the cells, and how blocks of threads share units, rows and weights."""

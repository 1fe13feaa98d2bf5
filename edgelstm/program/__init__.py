"""The Program: a graph made ready for one machine and one set of shapes.

    operands.py  values and the memory they lie in
    arena.py     offsets of short-lived buffers in one block of memory
    lowering.py  what an op sees while it appends its kernel calls
    plan.py      graph + shapes -> Program
"""

from edgelstm.program.plan import Program, plan

__all__ = ["Program", "plan"]

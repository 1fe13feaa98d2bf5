"""From a declared kernel to an address that can be called: front end, optimiser, object cache, loader."""

from edgelstm.native.loader import idle, link, run_at, run_table, thunk
from edgelstm.native.machine import host, host_forms
from edgelstm.native.target import Target

__all__ = ["Target", "host", "host_forms", "idle", "link", "run_at", "run_table", "thunk"]

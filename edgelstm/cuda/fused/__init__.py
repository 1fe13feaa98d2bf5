"""Calls that become one launch: chains of elementwise ops, gathers and copies, by themselves and inside of products."""

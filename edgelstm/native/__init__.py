"""From a declared kernel to an address that can be called: front end, optimiser, object cache, loader."""

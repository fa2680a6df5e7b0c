"""Microbenchmarks: which attention backend is right, and then fastest, for a shape on this machine."""

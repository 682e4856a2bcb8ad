"""The algorithms: one pass over one server (:mod:`servers`), and over one model (:mod:`models`).

A pass has no memory of its own but when it last tried what failed: it reads everything it decides
on, may run at any moment and any number of times, and a settled world costs it no write.
"""

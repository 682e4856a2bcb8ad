"""Pure decisions: from specs and what was observed to what is to be done and said.

Nothing here does I/O or asks the time. One pass over a server goes through these in turn:

* :mod:`acceptance` — which models can be served as written, and why not (:mod:`ensembles`);
* :mod:`models` — which generation of each model the repository should link to;
* :mod:`sync` — whether a Job has made that true on the claim;
* :mod:`content` — these together: what a server is to serve, and from what its new pods start;
* :mod:`loads` — what to load and unload on which pod;
* :mod:`model_status`, :mod:`server_status` — what to tell the user (:mod:`findings`, of pods
  :mod:`progress`), and whether to wait (:mod:`stalled`);
* :mod:`events` — which of it is news.
"""

"""What the operator would say and do, said without a cluster.

``documents`` reads manifests and remembers where each field stands; ``single`` finds the mistakes
of one object, ``across`` those that need several, ``check`` all of them. ``rendering`` makes the
objects that the operator would make. ``folder`` reads a model repository that exists already and
``importing`` turns it into objects.
"""

"""The custom resources as typed, immutable Python values; the CRDs are generated from them.

``meta`` and ``rules`` say what all of them share, ``conditions`` what a status is made of,
``model_config`` is Triton's ``config.pbtxt``, ``version`` says where files come from,
``pod_template`` what pods get besides, ``model`` and ``server`` are the two kinds, and ``crd``
writes their schemas.
"""

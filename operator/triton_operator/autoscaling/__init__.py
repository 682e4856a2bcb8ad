"""How many pods a server needs: samples -> signals -> capacity -> decision. Pure, without a clock.

The caller scrapes each ready pod, calls ``decide`` with what it read and with the ``Memory`` that
the last call returned, and keeps the new one. ``docs/autoscaling.md`` derives the formulas.
"""

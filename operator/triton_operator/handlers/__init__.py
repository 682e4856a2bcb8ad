"""Kopf handlers: the only code that knows kopf."""

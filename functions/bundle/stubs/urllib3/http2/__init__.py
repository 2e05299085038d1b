"""Replaces HTTP/2 support, which needs h2; the bundle does not have it.

The original imports importlib.metadata to look for h2.
"""

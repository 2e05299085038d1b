"""Left out of the bundle: HTTP/2 needs h2, which no function has.

The real one imports importlib.metadata to look for it.
"""

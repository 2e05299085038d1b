"""Makes the imports of a function cheaper. It must run before any other import."""

import gc
import logging
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import LazyLoader
from types import ModuleType

from anonauth import compiled

UNUSED = frozenset(
    {
        "ast",  # `inspect`, to parse the signatures of compiled functions
        "botocore.monitoring",
        "botocore.vendored.six",
        "botocore.waiter",
        "configparser",  # the SDK, to read files of settings
        # PyJWT uses it to find out whether a secret is a certificate. Our secrets never
        # are.
        "cryptography.x509",
        "email.header",  # headers with letters beyond ASCII
        "mimetypes",
        "msgspec.inspect",
        "shutil",
        "signal",
        "stringprep",  # host names with letters beyond ASCII
    }
)
"""Modules that libraries import, and that no function uses to answer its requests."""


class Deferring:
    """A finder that loads a module only when an attribute of it is first used.

    The first `import module` and `from package import module` use none. A second
    `import module` may do so.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return how to load a module late, None if it is none of these names."""
        if name not in self._names:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = LazyLoader(spec.loader)
                return spec
        return None


compiled.use(
    __file__.removesuffix("/anonauth/handlers/_cold_start.py"), first=Deferring(UNUSED)
)

# Lambda's runtime writes to the log whatever libraries say at INFO. PynamoDB says where
# it looks for settings, and botocore where it has found credentials.
for _library in ("pynamodb.settings", "botocore.credentials"):
    logging.getLogger(_library).setLevel(logging.WARNING)

# Imports create some 10⁵ objects, which all stay. The garbage collector would look
# through them again and again, and find nothing.
gc.disable()
try:
    import anonauth.wiring  # noqa: F401 - most modules, for all functions
except ImportError as failure:
    from anonauth.handlers._architecture import explain

    explain(failure)

gc.freeze()
# The rest of the start and the first request create some 10⁴ objects more that stay. By
# default, the collector would look through the youngest after each 2,000.
gc.set_threshold(50_000)
gc.enable()

"""Makes the imports of a function cheaper. It must run before any other import."""

import gc
import importlib.util
import logging
import sys

from anonauth import compiled


def defer(name: str) -> None:
    """Load a module only when an attribute of it is first used.

    This works for `from package import module`, as PyJWT does it. `import
    package.module` would load the module at once.
    """
    if name in sys.modules:
        return
    package, _, child = name.rpartition(".")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    setattr(sys.modules[package], child, module)
    spec.loader.exec_module(module)


compiled.use(__file__.removesuffix("/anonauth/handlers/_cold_start.py"))

# PyJWT uses it to find out whether a secret is a certificate. Our secrets never are.
defer("cryptography.x509")

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
gc.enable()

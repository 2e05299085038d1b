"""Makes the imports of a function cheaper. It must run before any other import."""

import gc
import importlib.util
import sys


def defer(name: str) -> None:
    """Let a module be loaded when its first attribute is asked for, if ever.

    That goes for `from package import module`, as PyJWT has it; `import
    package.module` would load it at once.
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


# PyJWT asks it whether a secret is a certificate, which ours never are.
defer("cryptography.x509")

# Imports make some 10⁵ objects, and all of them stay: the collector would look through
# them again and again, to find nothing.
gc.disable()
import anonauth.wiring  # noqa: E402, F401 - most of them, for all functions

gc.freeze()
gc.enable()

"""RSA keys whose private half can be computed from the public one.

The chips of one maker had primes of the form `k * M + (65537**a mod M)`, where M is the
product of the first primes. Such a key of 2048 bits can be factored at an affordable
price (ROCA, CVE-2017-15361; Nemec et al., "The Return of Coppersmith's Attack", CCS
2017). If an issuer has such a key, an attacker can log in as any of its users.
"""

import functools
from collections.abc import Mapping

# The primes in M of which 65537 has few powers. One good key in 2**27 looks like that,
# too.
_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


def is_roca(modulus: int) -> bool:
    """Tell whether an RSA modulus has the fingerprint of those chips; 20 us."""
    return all(modulus % prime in powers for prime, powers in _powers().items())


@functools.cache
def _powers() -> Mapping[int, frozenset[int]]:
    return {
        prime: frozenset(pow(65537, exponent, prime) for exponent in range(prime))
        for prime in _PRIMES
    }

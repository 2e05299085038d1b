"""Password hashing for tests: cheap, and each call is recorded."""

from anonauth.passwords import Argon2Passwords


class CountingPasswords:
    """A `Passwords` port that records its calls and hashes with the least memory."""

    def __init__(self, **parameters: int) -> None:
        self._passwords = Argon2Passwords(
            **{"memory_cost": 8, "time_cost": 1, **parameters}
        )
        self.asked: list[str] = []

    def normalise(self, password: str) -> str:
        return self._passwords.normalise(password)

    def hash(self, password: str) -> str:
        self.asked.append("hash")
        return self._passwords.hash(password)

    def verify(self, password: str, password_hash: str | None) -> bool:
        self.asked.append("verify")
        return self._passwords.verify(password, password_hash)

    def is_outdated(self, password_hash: str) -> bool:
        return self._passwords.is_outdated(password_hash)

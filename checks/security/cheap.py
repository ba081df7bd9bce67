"""The service with cheap password hashes, because the real ones would take most of the time of these checks."""

from typing import Final

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from app.main import create_app

app: Final = create_app(hasher=PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)))

"""The throttle of sign-in attempts: what it counts and what it forgets."""

import pytest

from app.users.throttle import SignInThrottle, TooManyAttempts


def is_admitted(throttle: SignInThrottle, name: str) -> bool:
    try:
        throttle.admit(name)
    except TooManyAttempts:
        return False
    return True


def test_attempts_are_forgotten_after_fifteen_minutes():
    now = [0.0]
    throttle = SignInThrottle(monotonic=lambda: now[0])
    for _ in range(5):
        throttle.admit("ada")
        now[0] += 900
    assert [is_admitted(throttle, "ada") for _ in range(2)] == [True, False]

    now[0] += 900.1
    assert [is_admitted(throttle, "ada") for _ in range(6)] == [True] * 5 + [False]


def test_pause_stays_a_minute_after_thousands_of_attempts():
    now = [0.0]
    throttle = SignInThrottle(monotonic=lambda: now[0])
    for _ in range(2000):
        throttle.admit("ada")
        now[0] += 60
    throttle.admit("ada")

    with pytest.raises(TooManyAttempts, match="try again in 60 s"):
        throttle.admit("ada")


def test_ten_thousand_names_are_remembered_and_the_least_recent_is_dropped_first():
    throttle = SignInThrottle(monotonic=lambda: 0.0)
    for _ in range(5):
        throttle.admit("early")
        throttle.admit("late")
    for number in range(9_998):
        throttle.admit(f"name {number}")
    assert not is_admitted(throttle, "early")

    throttle.admit("one more")
    assert is_admitted(throttle, "early")
    assert is_admitted(throttle, "late")  # dropped by the line above

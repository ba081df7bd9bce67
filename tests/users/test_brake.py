"""The brake itself: what it forgets."""

import pytest

from app.users.brake import Brake, TooManyTries


def is_let_through(brake: Brake, name: str) -> bool:
    try:
        brake.admit(name)
    except TooManyTries:
        return False
    return True


def test_tries_are_forgotten_after_a_quarter_of_an_hour():
    now = [0.0]
    brake = Brake(monotonic=lambda: now[0])
    for _ in range(5):
        brake.admit("ada")
        now[0] += 900
    assert is_let_through(brake, "ada")
    assert not is_let_through(brake, "ada")

    now[0] += 900.1
    assert [is_let_through(brake, "ada") for _ in range(6)] == [True] * 5 + [False]


def test_tries_that_were_not_let_through_do_not_count():
    now = [0.0]
    brake = Brake(monotonic=lambda: now[0])
    assert [is_let_through(brake, "ada") for _ in range(100)] == [True] * 5 + [False] * 95

    now[0] = 1.0
    assert is_let_through(brake, "ada")


def test_after_very_many_tries_the_pause_is_still_a_minute():
    now = [0.0]
    brake = Brake(monotonic=lambda: now[0])
    for _ in range(2000):
        brake.admit("ada")
        now[0] += 60
    brake.admit("ada")

    with pytest.raises(TooManyTries, match="try again in 60 s"):
        brake.admit("ada")


def test_ten_thousand_names_are_remembered_and_the_one_longest_left_alone_goes_first():
    brake = Brake(monotonic=lambda: 0.0)
    for _ in range(5):
        brake.admit("early")
        brake.admit("late")
    for number in range(9_998):
        brake.admit(f"name {number}")
    assert not is_let_through(brake, "early")

    brake.admit("one more")
    assert is_let_through(brake, "early")
    assert is_let_through(brake, "late")  # the last admission took its place

"""Steps of seconds, whatever the model, and the time that is left."""

from __future__ import annotations

from services.index.pacing import FEWEST_TEXTS, FIRST_TEXTS, MOST_TEXTS, STEP_SECONDS, Pace


def test_before_anything_is_measured_steps_are_small_and_the_time_is_unknown() -> None:
    pace = Pace()
    assert (pace.texts_per_step, pace.seconds_left(100)) == (FIRST_TEXTS, None)


def test_a_step_takes_seconds_however_slow_the_model() -> None:
    for per_second, expected in ((0.5, FEWEST_TEXTS), (10.0, int(10 * STEP_SECONDS)), (1000.0, MOST_TEXTS)):
        pace = Pace()
        pace.add(32, 32 / per_second)
        assert (pace.texts_per_step, pace.seconds_left(100)) == (expected, round(100 / per_second))


def test_the_speed_follows_the_texts() -> None:
    pace = Pace()
    pace.add(20, 1.0)
    pace.add(10, 1.0)
    assert pace.texts_per_second == 15.0
    for _ in range(20):
        pace.add(10, 1.0)
    assert round(pace.texts_per_second or 0, 3) == 10.0


def test_nothing_embedded_measures_nothing() -> None:
    pace = Pace()
    with pace.measured(0):
        pass
    assert pace.texts_per_second is None

"""When a training is validated."""

from pushforward.training import Recipe


def steps_of(total, **given):
    recipe = Recipe(steps=total, **given)
    return [step for step in range(1, total + 1) if recipe.validates(step, total)]


def test_a_long_run_is_validated_early_too():
    found = steps_of(20_000)
    assert found[:6] == [31, 62, 125, 250, 500, 1000]
    assert found[6:] == list(range(2000, 20_001, 1000))


def test_what_was_asked_for_is_kept_and_short_runs_have_nothing_early():
    assert steps_of(1000, validate_every=300) == [300, 600, 900, 1000]
    assert steps_of(100) == list(range(5, 101, 5))

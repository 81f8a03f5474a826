"""Schedules by hand, in range, and from every source."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sparse import schedules

SPARSITY = st.floats(0, 1, exclude_max=True)
STEP = st.integers(0, 1000)
ALL = [
    schedules.Constant(0.5, begin=3, end=9),
    schedules.OneShot(0.5, step=4),
    schedules.Polynomial(final=0.8, begin=100, end=110, initial=0.2),
    schedules.Cyclic(0.9, begin=10, end=85, sparse_steps=5, dense_steps=5),
]


def test_polynomial_by_hand():
    schedule = schedules.Polynomial(final=0.8, initial=0.2, begin=100, end=110)
    assert schedule(99) == 0.0
    assert schedule(100) == 0.2
    assert schedule(102) == pytest.approx(0.4928)  # .8 - .6 * .8**3
    assert schedule(105) == pytest.approx(0.725)  # .8 - .6 * .5**3
    assert schedule(110) == schedule(10**9) == 0.8


def test_straight_line():
    schedule = schedules.Polynomial(final=0.8, begin=0, end=4, power=1)
    found = [schedule(step) for step in range(5)]
    assert found == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_polynomial_without_a_ramp_is_a_jump():
    schedule = schedules.Polynomial(final=0.8, begin=5, end=5)
    assert (schedule(4), schedule(5)) == (0.0, 0.8)


def test_constant_and_one_shot():
    constant = schedules.Constant(0.5, begin=10)
    assert [constant(step) for step in (0, 9, 10, 99)] == [0, 0, 0.5, 0.5]
    assert (constant.begin, constant.end, constant.final) == (10, None, 0.5)
    shot = schedules.OneShot(0.5, step=10)
    assert [shot(step) for step in (0, 9, 10, 99)] == [0, 0, 0.5, 0.5]
    assert (shot.begin, shot.end, shot.final) == (10, 10, 0.5)


def test_cyclic_phases_by_hand():
    schedule = schedules.Cyclic(
        0.9, begin=2, end=11, sparse_steps=3, dense_steps=2
    )
    phases = "".join("s" if schedule(step) else "d" for step in range(14))
    # From 2: sss dd sss; then dd before the end at 11 cuts the third run.
    assert phases == "dd" + "sssdd" + "ss" + "dd" + "sss"
    assert {schedule(step) for step in range(14)} == {0.0, 0.9}
    assert (schedule.begin, schedule.end, schedule.final) == (2, 11, 0.9)


def test_cyclic_as_in_the_paper():
    # Sparse epochs 10-15, 20-25, ..., 70-75 and 85-100.
    schedule = schedules.Cyclic(
        0.9, begin=10, end=85, sparse_steps=5, dense_steps=5
    )
    sparse = [epoch for epoch in range(100) if schedule(epoch)]
    runs = [range(start, start + 5) for start in range(10, 71, 10)]
    assert sparse == [epoch for run in (*runs, range(85, 100)) for epoch in run]


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_config_rebuilds_the_schedule(schedule):
    again = type(schedule).from_config(schedule.get_config())
    assert again == schedule
    assert schedules.get(schedule) is schedule
    assert schedule(schedule.begin - 1) == 0
    assert schedule(10**6) == schedule.final


@given(SPARSITY, SPARSITY, STEP, STEP, st.floats(0.1, 10), st.data())
@settings(deadline=None)
def test_polynomial_grows_from_initial_to_final(a, b, c, d, power, data):
    schedule = schedules.Polynomial(
        final=max(a, b),
        initial=min(a, b),
        begin=min(c, d),
        end=max(c, d),
        power=power,
    )
    steps = sorted(data.draw(st.lists(STEP, min_size=2)))
    found = [schedule(step) for step in steps]
    assert found == sorted(found)
    assert all(0 <= sparsity < 1 for sparsity in found)
    assert all(
        sparsity >= schedule.initial
        for step, sparsity in zip(steps, found, strict=True)
        if step >= schedule.begin
    )
    assert schedule(schedule.end) == schedule(10**6) == schedule.final


@given(SPARSITY, STEP, STEP, st.integers(1, 50), st.integers(1, 50), STEP)
@settings(deadline=None)
def test_cyclic_is_dense_or_sparse(sparsity, c, d, sparse, dense, step):
    schedule = schedules.Cyclic(
        sparsity,
        begin=min(c, d),
        end=max(c, d),
        sparse_steps=sparse,
        dense_steps=dense,
    )
    assert schedule(step) in (0.0, sparsity)
    assert schedule(schedule.end + step) == schedule.final == sparsity
    if schedule.begin < schedule.end:
        assert schedule(schedule.end - 1) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.Constant(1.0), r"sparsity .*\[0, 1\).*1.0"),
        (lambda: schedules.Constant(0.5, 9, 8), "end at or after the begin"),
        (lambda: schedules.Constant(0.5, -1), "whole numbers, 0 or more"),
        (lambda: schedules.OneShot(0.5, 1.5), "whole numbers.*step=1.5"),
        (lambda: schedules.OneShot(-0.5, 1), r"\[0, 1\)"),
        (lambda: schedules.Polynomial(0.9, 9, 8), "begin=9, end=8"),
        (lambda: schedules.Polynomial(90, 0, 8), "final .*pass 0.9"),
        (lambda: schedules.Polynomial(0.1, 0, 8, initial=0.2), "Swap them"),
        (lambda: schedules.Polynomial(0.1, 0, 8, initial=-1), "initial"),
        (lambda: schedules.Polynomial(0.1, 0, 8, power=0), "positive power"),
        (lambda: schedules.Cyclic(0.9, 9, 8, 1, 1), "begin=9, end=8"),
        (lambda: schedules.Cyclic(0.9, 0, 8, 0, 1), "at least one step"),
        (lambda: schedules.Cyclic(0.9, 0, 8, 1, -1), "whole numbers"),
        (lambda: schedules.get("cubic"), "Received: 'cubic'"),
        (lambda: schedules.get(None), "Expected a schedule"),
        (lambda: schedules.get(schedules.Polynomial), "must be called"),
        (lambda: schedules.get(1.5), r"\[0, 1\)"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_number_is_a_constant():
    assert schedules.get(0.9) == schedules.Constant(0.9)
    assert schedules.get(0) == schedules.Constant(0.0)


def test_function_of_the_step():
    schedule = schedules.get(lambda step: step / 100)
    assert schedule(30) == 0.3
    assert (schedule.begin, schedule.end, schedule.final) == (0, None, None)
    assert schedules.get(schedule) is schedule
    with pytest.raises(ValueError, match="returns at step 100.*Received: 1.0"):
        schedule(100)


@pytest.mark.parametrize("result", [None, "0.5", -0.1, float("nan")])
def test_function_that_returns_no_sparsity(result):
    schedule = schedules.get(lambda step: result)
    with pytest.raises(ValueError, match=r"returns at step 7 .*\[0, 1\)"):
        schedule(7)


def test_function_that_says_when_it_acts():
    def schedule(step):
        return 0.5

    schedule.begin, schedule.end, schedule.final = 3, 9, 0.5
    found = schedules.get(schedule)
    assert (found.begin, found.end, found.final) == (3, 9, 0.5)


@pytest.mark.filterwarnings("ignore")
def test_tfmot_schedules():
    tfmot = pytest.importorskip("tensorflow_model_optimization")
    schedule = schedules.get(
        tfmot.sparsity.keras.PolynomialDecay(
            0.2, 0.8, begin_step=100, end_step=110, frequency=5
        )
    )
    assert (schedule.begin, schedule.end, schedule.final) == (100, 110, 0.8)
    found = [schedule(step) for step in (99, 100, 102, 105, 110, 115)]
    assert found == [None, 0.2, None, pytest.approx(0.725), 0.8, None]

    schedule = schedules.get(
        tfmot.sparsity.keras.ConstantSparsity(0.9, begin_step=7, frequency=2)
    )
    assert (schedule.begin, schedule.end, schedule.final) == (7, None, 0.9)
    assert [schedule(step) for step in (6, 7, 8, 9)] == [None, 0.9, None, 0.9]
    assert schedules.get(schedule) is schedule

    class Mine(tfmot.sparsity.keras.PruningSchedule):
        def __call__(self, step):
            return step > 5, 0.25

        def get_config(self):
            return {}

    schedule = schedules.get(Mine())
    assert (schedule(5), schedule(6)) == (None, 0.25)
    assert (schedule.begin, schedule.end, schedule.final) == (0, None, None)

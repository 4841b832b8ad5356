"""Tables with names: what is a number, what a category, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pushforward.data.checks import unused
from pushforward.data.frame_files import read_frame
from pushforward.data.frames import frame_of
from pushforward.data.pairing import pair
from pushforward.errors import UserError

ROWS = np.arange(40)


def paired(**columns):
    frame = frame_of({name: np.asarray(column) for name, column in columns.items()})
    return pair(frame, ["y"], np.arange(len(frame)))


def test_categories_that_look_like_numbers_stay_what_they_are(tmp_path):
    """01234 and 1234 are two codes, also in a table that has no other text to tell."""
    codes = np.array(["01234", "1234", "2.50", "A99"] * 10)
    pairing = paired(code=codes, y=np.arange(40.0))
    assert pairing.texts == ("code",)
    (tmp_path / "new.csv").write_text("code\n2.50\n01234\n")
    found = pairing.raw_features(read_frame(tmp_path / "new.csv", texts=pairing.texts))
    assert found[:, 0].tolist() == [2, 0]
    assert pairing.raw_features(frame_of({"code": np.array([1234, 1234])}, texts=pairing.texts))[:, 0].tolist() == [
        1,
        1,
    ]


def test_a_category_by_its_type_is_one_also_where_it_is_a_number():
    pandas = pytest.importorskip("pandas")
    frame = frame_of(pandas.DataFrame({"a": pandas.Categorical([3, 1] * 5), "b": pandas.Categorical([1.0, 2.5] * 5)}))
    assert frame.is_text("a") and frame["a"].tolist()[:2] == ["3", "1"]
    assert frame["b"].tolist()[:2] == ["1", "2.5"]
    with pytest.raises(UserError, match=r"'a' \(1 row, first 1\)"):
        frame_of(pandas.DataFrame({"a": pandas.Categorical([3, None])}))


def test_dates_and_identifiers_are_no_categories():
    days = np.arange("2026-01-01", "2026-02-10", dtype="datetime64[D]")
    with pytest.raises(UserError, match="'day' of the table holds dates or times: give them as numbers"):
        paired(day=days, y=ROWS.astype(float))
    with pytest.raises(UserError, match=r"'day' has 40 different texts in 40 rows, such as '2026-01-01'"):
        paired(day=days.astype(str), y=ROWS.astype(float))
    assert paired(day=days.astype(str)[ROWS // 2], y=ROWS.astype(float)).inputs == 20


def test_numbers_that_nothing_can_be_said_of_are_refused():
    x, y = np.arange(40.0), np.arange(40.0)
    for name in ("x", "y"):
        broken = {"x": x.copy(), "y": y.copy()}
        broken[name][7] = -1e300
        with pytest.raises(UserError, match=rf"'{name}' has -1e\+300 in row 7, and numbers below 1e\+100"):
            paired(**broken)
    pairing = paired(x=x, y=y)
    with pytest.raises(
        UserError, match=r"new rows has 1e\+30 in the column 'x', which was 19\.5 ± 11\.5434 in training"
    ):
        pairing.raw_features(frame_of({"x": np.array([3.0, 1e30])}, "new rows"))
    assert pairing.raw_features(frame_of({"x": np.array([1e4])})).item() == 1e4
    with pytest.raises(UserError, match="every column of the table besides the response is constant"):
        paired(x=np.ones(40), z=np.zeros(40), y=y)


def test_names_that_are_taken_get_a_number():
    assert [unused("a", ()), unused("a", ("a",)), unused("a", ("a", "a (2)"))] == ["a", "a (2)", "a (3)"]

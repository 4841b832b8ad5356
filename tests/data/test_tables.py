"""CSV and Parquet: what is read, what comes back, and the sentence for everything else."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushforward.data import load, save_samples
from pushforward.errors import UserError


def written(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(count=12):
    return [(i, f"{i * 0.1 + 0.05:.2f}", "ab"[i % 2]) for i in range(count)]


def table(header="age,height,kind", separator=",", count=12):
    lines = [header] if header else []
    return "\n".join(lines + [separator.join(map(str, row)) for row in rows(count)]) + "\n"


def test_a_table_goes_in_and_comes_back(tmp_path):
    data = load(written(tmp_path, table()), label_column="kind")
    assert data.format.kind == "table" and data.format.columns == ("age", "height")
    assert data.format.column_dtypes == ("int64", "float64") and data.format.label_names == ("a", "b")
    train = data.train
    values, labels = data.format.decode(train.all().values), train.labels
    np.testing.assert_array_equal(values[:, 0], train.values[:, 0])
    np.testing.assert_array_equal(values[:, 1], train.values[:, 1])  # two decimals are kept, and come back exactly
    assert data.format.coding.decimals == (None, 2) and "decimals kept: height 2" in data.messages
    out = save_samples(train.values, labels, data.format, tmp_path / "out.csv")
    source = set(table().splitlines())
    assert set(out.read_text().splitlines()) <= source and len(out.read_text().splitlines()) == 1 + len(train)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_line_ends_and_marks(tmp_path, separator, end):
    text = table("age,height,kind".replace(",", separator), separator).replace("\n", end)
    data = load(written(tmp_path, "\ufeff" + text), label_column="kind")
    assert data.format.columns == ("age", "height") and data.num_classes == 2


def test_no_header_is_noticed_and_said(tmp_path):
    data = load(written(tmp_path, "1,2\n3,5\n4,8\n"))
    assert data.format.columns == ("column_0", "column_1")
    assert any("no header line" in line for line in data.messages)
    assert len(data.train) + len(data.validation) + len(data.test) == 3


def test_a_header_with_a_number_in_it_is_a_header(tmp_path):
    assert load(written(tmp_path, "2020,height\n1,2\n3,5\n4,8\n")).format.columns == ("2020", "height")
    data = load(written(tmp_path, "5.1,a\n4.9,b\n3.2,a\n"), label_column="column_1")
    assert data.format.columns == ("column_0",)


def test_label_column_returns_to_its_place(tmp_path):
    text = "x,class,y\n" + "".join(f"{i},{10 * (i % 2)},{i * i}\n" for i in range(10))
    data = load(written(tmp_path, text), label_column="class")
    assert data.format.label_names == ("0", "10")
    out = save_samples(data.train.values, data.train.labels, data.format, tmp_path / "out.csv").read_text()
    assert out.splitlines()[0] == "x,class,y" and set(out.splitlines()) <= set(text.splitlines())
    unlabelled = load(written(tmp_path, text), label_column="class", labels=False)
    assert unlabelled.num_classes is None and unlabelled.format.columns == ("x", "y")


def test_values_are_read_across_many_chunks(tmp_path):
    numbers = np.random.default_rng(0).integers(-1000, 1000, (20000, 2))
    path = written(tmp_path, "a,b\n" + "\n".join(f"{a},{b}" for a, b in numbers) + "\n")
    data = load(path, validation=0, test=0)
    np.testing.assert_array_equal(data.train.values, numbers)


BAD = {
    "empty": ("", "is empty"),
    "header only": ("a,b\n", "header line and no rows"),
    "ragged": ("a,b\n1,2\n3\n4,5\n", "Line 3 .* has 1 cells, and 2 were expected"),
    "text": ("a,b,c\n1,x,2\n2,y,3\n3,z,4\n", r"not numbers: 'b' \(line 2: 'x'\)"),
    "late text": ("a,b\n1,2\n2,3\n3,oops\n", r"'b' \(line 4: 'oops'\)"),
    "underscores": ("a,b\n1,2\n2,1_0\n3,4\n", r"'b' \(line 3: '1_0'\)"),
    "empty column": ("a,b\n1,\n2,\n3,\n", "Column 'b' .* is empty from line 2 to line 4: .* remove the column"),
    "empty cell": ("a,b\n1,2\n2,\n3,4\n", "Line 3 .* empty cell in column 'b'"),
    "nan": (
        "a,b\n1,2\nnan,2\n3,inf\n",
        r"2 cells without a finite number, at line 3, column 'a' \(nan\); line 4, column 'b'",
    ),
    "twice": ("a,b,a\n1,2,3\n2,3,4\n", r"column name 'a' 2 times \(columns 1, 3\)"),
    "one row": ("a,b\n1,2\n", "1 item, and at least 2"),
    "huge integer": ("a,b\n1,2\n9007199254740993,3\n2,5\n", "Column 'a' .* 2⁵³"),
    "huge number": ("a,b\n1,2\n1e200,3\n2,5\n", "row 1, column 'a'"),
    "constant": ("a,b\n1,2\n1,2\n1,2\n", "Every column"),
    "bytes": (b"\xff\xfe\x00\x01", "not a UTF-8 text table"),
    "nul": (b"a,b\n1,\x00\n", "not numbers|text table"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_named(tmp_path, case):
    text, sentence = BAD[case]
    with pytest.raises(UserError, match=sentence) as found:
        load(written(tmp_path, text))
    assert "table.csv" in str(found.value) and "\n" not in str(found.value)


def test_label_columns_that_are_wrong(tmp_path):
    path = written(tmp_path, table())
    with pytest.raises(UserError, match=r"no label column 'knd' .did you mean 'kind'"):
        load(path, label_column="knd")
    with pytest.raises(UserError, match=r"Line 3 .* no label in column 'b'"):
        load(written(tmp_path, "a,b\n1,x\n2,\n"), label_column="b")
    with pytest.raises(UserError, match="no column besides the label"):
        load(written(tmp_path, "b\nx\ny\nx\n"), label_column="b")
    many = "a,b\n" + "".join(f"{i},{i / 7}\n" for i in range(60))
    with pytest.raises(UserError, match="60 different values"):
        load(written(tmp_path, many), label_column="b")


def test_memory_limit_is_kept_with_the_figure(tmp_path):
    with pytest.raises(UserError, match=r"needs .* in memory, and the limit is 100 bytes"):
        load(written(tmp_path, table()), label_column="kind", memory_limit=100)


@given(st.binary(max_size=200))
def test_random_bytes_as_csv(tmp_path_factory, data):
    path = written(tmp_path_factory.getbasetemp(), data, "random.csv")
    try:
        load(path)
    except UserError as error:
        assert "\n" not in str(error)


CELLS = st.sampled_from(["1", "-2.5", "1e3", "nan", "", "x", '"', "1_0", " 7 ", "inf", "9" * 30, ",", ";", "\n", "é"])


@given(st.lists(st.lists(CELLS, max_size=4), max_size=6))
def test_random_cells_as_csv(tmp_path_factory, cells):
    path = written(tmp_path_factory.getbasetemp(), "\n".join(",".join(row) for row in cells), "random.csv")
    try:
        data = load(path)
    except UserError as error:
        assert len(str(error)) < 800
        return
    assert np.isfinite(data.train.values).all()


def parquet_file(tmp_path, columns, name="table.parquet"):
    path = tmp_path / name
    pq.write_table(pa.table(columns), path)
    return path


def columns(count=12):
    generator = np.random.default_rng(0)
    return {
        "tiny": pa.array(np.arange(count), pa.int8()),
        "kind": ["ab"[i % 2] for i in range(count)],
        "real": pa.array(generator.normal(size=count), pa.float32()),
        "wide": pa.array(generator.normal(size=count), pa.float64()),
        "flag": [i % 3 == 0 for i in range(count)],
    }


def test_parquet_keeps_every_columns_type(tmp_path):
    path = parquet_file(tmp_path, columns())
    data = load(path, label_column="kind")
    assert data.format.column_dtypes == ("int8", "float32", "float64", "bool")
    form = data.format
    out = save_samples(form.decode(data.train.all().values), data.train.labels, form, tmp_path / "out.parquet")
    before, after = pq.read_table(path), pq.read_table(out)
    assert after.column_names == before.column_names
    assert after.schema.field("tiny").type == pa.int8() and after.schema.field("flag").type == pa.bool_()
    assert after.schema.field("real").type == pa.float32()
    exact = {tuple(row) for row in zip(*(before[n].to_pylist() for n in ("tiny", "kind", "flag")), strict=True)}
    assert {tuple(row) for row in zip(*(after[n].to_pylist() for n in ("tiny", "kind", "flag")), strict=True)} <= exact
    text = save_samples(data.train.values, data.train.labels, form, tmp_path / "out.csv").read_text().splitlines()
    assert text[0] == "tiny,kind,real,wide,flag" and text[1].split(",")[-1] in "01"


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (list("abcdefghijkl"), r"not numbers: 'bad' \(string\)"),
        ([None, 1.0, None] * 4, "8 missing values in column 'bad', at rows 0, 2, 3, 5, 6, …"),
        ([float("nan"), *range(11)], r"1 value .* row 0, column 'bad' \(nan\)"),
        ([1 << 53, *range(11)], "Column 'bad' .* 2⁵³"),
    ],
)
def test_bad_parquet_columns_are_named(tmp_path, column, sentence):
    with pytest.raises(UserError, match=sentence):
        load(parquet_file(tmp_path, {"good": range(12), "bad": column}))


def test_bad_parquet_files_are_named(tmp_path):
    path = parquet_file(tmp_path, columns())
    whole = path.read_bytes()
    with pytest.raises(UserError, match="not a readable Parquet file"):
        load(written(tmp_path, whole[: len(whole) // 2], "cut.parquet"))
    with pytest.raises(UserError, match="did you mean 'kind'"):
        load(path, label_column="kin")
    with pytest.raises(UserError, match="limit is 10 bytes"):
        load(path, memory_limit=10)
    with pytest.raises(UserError, match="2 times"):
        twice = pa.Table.from_arrays([pa.array([1, 2]), pa.array([1, 2])], names=["a", "a"])
        pq.write_table(twice, tmp_path / "twice.parquet")
        load(tmp_path / "twice.parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = parquet_file(tmp_path, columns())
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pushforward\[parquet\]"):
        load(path)


@given(st.integers(0, 2**31), st.integers(0, 255), st.booleans())
def test_damaged_parquet_loads_or_is_refused(tmp_path_factory, place, byte, cut):
    folder = tmp_path_factory.getbasetemp()
    good = folder / "good.parquet"
    if not good.exists():
        parquet_file(folder, {"a": range(20), "b": np.linspace(0, 1, 20)}, "good.parquet")
    content = bytearray(good.read_bytes())
    place %= len(content)
    content[place] = byte
    try:
        load(written(folder, bytes(content[:place] if cut else content), "bad.parquet"))
    except UserError as error:
        assert "bad.parquet" in str(error)


def test_reals_without_a_last_decimal_or_beyond_float32_are_not_rounded(tmp_path):
    generator = np.random.default_rng(0)
    found = np.stack(
        [generator.random(20), generator.integers(0, 10**9, 20) + 0.5, generator.integers(0, 9, 20) / 4], 1
    )
    path = written(tmp_path, "a,b,c\n" + "\n".join(",".join(map(repr, row)) for row in found.tolist()))
    assert load(path).format.coding.decimals == (None, None, 2)
    assert load(found).format.coding.decimals == (None, None, None)  # plain arrays have no text to return to


@given(st.integers(0, 4), st.integers(2, 30), st.integers(0, 10**6))
def test_decimal_tables_come_back_exactly(tmp_path_factory, places, count, seed):
    generator = np.random.default_rng(seed)
    text = "a,b\n" + "\n".join(f"{generator.normal(20, 9):.{places}f},{generator.random():.6f}" for _ in range(count))
    folder = tmp_path_factory.getbasetemp()
    data = load(written(folder, text, "decimals.csv"), validation=0, test=0)
    back = data.format.decode(data.train.all().values)
    np.testing.assert_array_equal(back, data.train.values)
    lines = save_samples(back, None, data.format, folder / "back.csv").read_text().splitlines()
    assert [[float(cell) for cell in row.split(",")] for row in lines[1:]] == data.train.values.tolist()


def test_labels_with_leading_zeros_are_names(tmp_path):
    lines = [f"{i % 7}.5,{i},{code}" for i in range(12) for code in ("007", "7")]
    data = load(written(tmp_path, "a,b,code\n" + "\n".join(lines) + "\n"), label_column="code", validation=0, test=0)
    assert data.format.label_names == ("007", "7")
    text = save_samples(data.train.values, data.train.labels, data.format, tmp_path / "out.csv").read_text()
    assert text.splitlines()[1:] == lines

"""Tours from the command line: the user's rows in a new order, pictures, a prior trained and asked, mistakes named."""

import csv

import numpy as np
import pytest
from PIL import Image

from pushforward.combinatorial.exact import held_karp
from pushforward.combinatorial.tsp import TravellingSalesman, random_cities
from pushforward.data.cities import read_cities
from pushforward.numerics.random import Draws


@pytest.fixture
def table(tmp_path):
    cities = random_cities(Draws.of(0, [0]), 9)[0] * 40 - 7
    path = tmp_path / "cities.csv"
    rows = [f"town {i},{x:.17g},{y:.17g}" for i, (x, y) in enumerate(cities)]
    path.write_text("name,x,y\n" + "\n".join(rows) + "\n")
    return path, cities


def length(cities, tour):
    return float(TravellingSalesman(cities[None]).cost(np.asarray(tour)[None])[0])


def test_rows_come_back_in_the_order_of_the_shortest_tour(command, table, tmp_path):
    path, cities = table
    out = tmp_path / "tour.csv"
    said = command("tsp", "solve", path, "-o", out, "--exact", "--kicks", "20", "--json")
    assert said.code == 0, said
    optimum = length(cities, held_karp(TravellingSalesman(cities[None]).distances[0]))
    assert said.json["length"] == pytest.approx(optimum) and said.json["proved"] and said.json["gap"] >= -1e-9
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stop"] for row in rows] == [str(i) for i in range(1, 10)]
    order = [int(row["name"].split()[1]) for row in rows]
    assert sorted(order) == list(range(9)) and [city + 1 for city in order] == said.json["tour"]
    assert length(cities, order) == pytest.approx(optimum)
    assert all(float(row["x"]) == cities[city, 0] for row, city in zip(rows, order, strict=True))


def test_a_search_without_a_proof_is_no_better_than_one(command, table):
    path, _ = table
    alone = command("tsp", "solve", path, "--json").json
    proved = command("tsp", "solve", path, "--exact", "--json").json
    assert alone["length"] >= proved["length"] - 1e-9 and not alone["proved"]
    assert alone["merged"] >= alone["two_opt"] >= alone["length"]
    assert "tour: " in command("tsp", "solve", path, "--kicks", "0").out


def test_a_picture_shows_the_tour_beside_the_shortest(command, table, tmp_path):
    path, _ = table
    for more, tiles in (((), 1), (("--exact",), 2)):
        out = tmp_path / f"tour{tiles}.png"
        assert command("tsp", "solve", path, "-o", out, "--kicks", "5", *more).code == 0
        with Image.open(out) as image:
            assert image.width == tiles * 480
            assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 9


def test_a_prior_is_trained_and_asked(command, refused, table, tmp_path):
    path, cities = table
    run = tmp_path / "run"
    given = ("--cities", "6", "--steps", "2", "--instances", "8", "--width", "8", "--out", run)
    said = command("tsp", "train", *given, "--json")
    assert said.code == 0 and said.json["step"] == 2, said
    found = command("tsp", "solve", path, "--run", run, "--kicks", "5", "--json")
    assert sorted(found.json["tour"]) == list(range(1, 10))
    assert length(cities, [c - 1 for c in found.json["tour"]]) == pytest.approx(found.json["length"])
    assert "is a prior of tours: ask it by" in refused("info", run)
    again = command("tsp", "train", *given, "--json")
    assert again.code == 0 and again.json["step"] == 2
    assert "cannot be continued" in refused("tsp", "train", *given, "--prior", "image", "--quiet")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,y\n1,2\n", "a tour needs at least 3 cities; there is 1"),
        ("1,2\n3,4\n1,2\n5,6\n", "cities 1 and 3 are in the same place"),
        ("x,y\n1,2\nnan,4\n5,6\n", "city 2 has a coordinate that is not a finite number"),
        ("x,y\n1,2\n,4\n5,6\n", "city 2 has no coordinate in column 1"),
        ("x,y\n1,2\n3,north\n5,6\n", "'north', which is no number"),
        ("1,2,3\n4,5,6\n", "has 3 columns"),
        ("x,y\n48,1,11,5\n49,2,12,5\n", "city 1 has 4 cells, and 2 were expected"),
        ("", "is empty"),
    ],
)
def test_bad_tables_are_named(refused, tmp_path, text, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert words in refused("tsp", "solve", path)


def test_other_mistakes_are_named(refused, small_run, table, tmp_path):
    path, _ = table
    assert "cannot be read" in refused("tsp", "solve", tmp_path / "nowhere.csv")
    assert ".csv, .tsv or .png" in refused("tsp", "solve", path, "-o", tmp_path / "tour.doc")
    assert "is not a run" in refused("tsp", "solve", path, "--run", tmp_path)
    assert "is no prior of tours" in refused("tsp", "solve", path, "--run", small_run)
    assert "--seconds must be above 0" in refused("tsp", "solve", path, "--exact", "--seconds", "-1")
    assert "at least 0; got -1" in refused("tsp", "solve", path, "--kicks", "-1")
    assert "prior" in refused("tsp", "train", "--prior", "magic")
    assert "steps" in refused("tsp", "train", "--steps", "-1")
    assert "give one of them" in refused("tsp", "train", "--steps", "1", "--minutes", "1")
    assert "cities" in refused("tsp", "train", "--cities", "2")


def test_columns_are_found(tmp_path):
    path = tmp_path / "cities.tsv"
    path.write_text("id\tlat\tlon\n7\t50\t8\n8\t51\t9\n9\t52\t10\n")
    found = read_cities(path)
    assert found.places.tolist() == [[8, 50], [9, 51], [10, 52]]
    assert found.in_degrees
    found.write(tmp_path / "out.tsv", [2, 0, 1])
    assert (tmp_path / "out.tsv").read_text().splitlines()[:2] == ["stop\tid\tlat\tlon", "1\t9\t52\t10"]


def test_rows_are_written_as_they_were(command, tmp_path):
    path, out = tmp_path / "cities.csv", tmp_path / "out.tsv"
    path.write_text('name,lat,lon\n"a\nb",1,2\n"c, d",3,4\ne,5,7\n')
    said = command("tsp", "solve", path, "-o", out)
    assert said.code == 0 and "longitudes" in said.err
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["name"] for row in rows} == {"a\nb", "c, d", "e"}


def test_a_proof_that_takes_too_long_loses_nothing(command, table, monkeypatch):
    from pushforward.combinatorial import exact
    from pushforward.errors import PushforwardError

    def never(distances, seconds):
        raise PushforwardError("the shortest tour was not proved: time")

    monkeypatch.setattr(exact, "shortest_tour", never)
    said = command("tsp", "solve", table[0], "--exact", "--kicks", "0", "--json")
    assert said.code == 0 and not said.json["proved"] and len(said.json["tour"]) == 9 and "kept" in said.err


def test_too_many_cities_are_refused(refused, tmp_path):
    path = tmp_path / "many.csv"
    path.write_text("\n".join(f"{i},{i * i % 7919}" for i in range(2001)))
    assert "at most 2000" in refused("tsp", "solve", path)

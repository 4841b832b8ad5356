"""Combinatorial problems: their moves and proved optima, and priors that say which marks a solution has.

problem = TravellingSalesman(random_cities(Draws.of(0, range(100)), 20))
tours = problem.improve(problem.decode(heat)).solutions
"""

from pushforward.combinatorial.exact import cp_sat_tour, held_karp, largest_independent_set, shortest_tour
from pushforward.combinatorial.features import Features, features_of
from pushforward.combinatorial.graph import GraphDiffusion
from pushforward.combinatorial.independent_set import IndependentSet, near_largest, random_graphs
from pushforward.combinatorial.items import GraphItems, ImageItems, SolvedItems, solved_sets, solved_tours
from pushforward.combinatorial.problem import Improved, Problem, cheapest, gap, search
from pushforward.combinatorial.raster import Raster
from pushforward.combinatorial.relaxed import RelaxedTours
from pushforward.combinatorial.tsp import (
    TravellingSalesman,
    check_cities,
    near_optimal,
    random_cities,
    random_tours,
    unit_square,
)

__all__ = [
    "Features",
    "GraphDiffusion",
    "GraphItems",
    "ImageItems",
    "Improved",
    "IndependentSet",
    "Problem",
    "Raster",
    "RelaxedTours",
    "SolvedItems",
    "TravellingSalesman",
    "cheapest",
    "check_cities",
    "cp_sat_tour",
    "features_of",
    "gap",
    "held_karp",
    "largest_independent_set",
    "near_largest",
    "near_optimal",
    "random_cities",
    "random_graphs",
    "random_tours",
    "search",
    "shortest_tour",
    "solved_sets",
    "solved_tours",
    "unit_square",
]

"""The benchmark command: its names, its file, and that a wrong answer fails it."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import list_quality, published_lists, training_scale, users_in_training
from benchmarks.bench import BENCHMARKS, LONG, LONG_PARTS, TABLES, main
from benchmarks.list_quality import Candidate, DataSet, choose_settings, solve_full_ease
from benchmarks.timing import Comparison, compare
from benchmarks.top_k_peers import Problem, time_slim_scoring
from click.testing import CliRunner
from scipy.sparse import csr_matrix, random, save_npz

from recsys_core.ranking.top_k import TopKScorer

PROMISED = {
    "topk_vs_matmul",
    "topk_vs_implicit",
    "topk_vs_argpartition",
    "topk_vs_torch_topk",
    "topk_vs_faiss",
    "topk100_vs_matmul",
    "topk_3706_vs_matmul",
    "topk_100000x128_vs_matmul",
    "scoring_vs_spark_als",
    "scoring_overhead",
    "nmf_fold_in_vs_sklearn",
    "fold_in_vs_topk",
}


def test_the_promised_benchmarks_are_there() -> None:
    assert set(BENCHMARKS) >= PROMISED
    assert set(LONG) == {
        "scoring_unseen_vs_spark_als",
        "scoring_large_vs_spark_als",
        "night_vs_spark_als",
    }


@pytest.mark.parametrize(("module", "function"), [*TABLES.values(), *LONG_PARTS.values()])
def test_every_table_has_its_function(module: str, function: str) -> None:
    assert callable(getattr(importlib.import_module(f"benchmarks.{module}"), function))
    assert set(LONG_PARTS) <= set(TABLES)


def test_a_benchmark_is_timed_and_written(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = CliRunner().invoke(main, ["topk_3706_vs_matmul", "--runs", "1", "--json", str(file)])
    assert done.exit_code == 0, done.output
    [row] = json.loads(file.read_text())
    assert set(row) == {"name", "ours", "peer", "ratio", "runs", "exact"}
    assert row["name"] == "topk_3706_vs_matmul"
    assert row["exact"] is True
    assert row["ratio"] == pytest.approx(row["peer"] / row["ours"])


def test_a_benchmark_that_is_not_exact_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        BENCHMARKS, "topk_vs_matmul", lambda runs: Comparison(1.0, 2.0, runs, exact=False)
    )
    file = tmp_path / "results.json"
    done = CliRunner().invoke(main, ["topk_vs_matmul", "--json", str(file)])
    assert done.exit_code == 1
    assert "NO" in done.output
    assert json.loads(file.read_text())[0]["exact"] is False


def test_lists_that_are_wrong_are_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem.draw(300, 500, 8, 5)
    assert problem.is_exact()
    rank = TopKScorer.rank
    monkeypatch.setattr(  # a scorer that has forgotten what users have seen
        TopKScorer, "rank", lambda self, users, seen: rank(self, users, csr_matrix(seen.shape))
    )
    assert not problem.is_exact()


def test_both_sides_run_in_turn() -> None:
    calls: list[str] = []
    timed = compare(lambda: calls.append("a"), lambda: calls.append("b"), runs=3, exact=True)
    assert calls == ["a", "b"] * 4
    assert (timed.runs, timed.exact) == (3, True)


# --- What is missing ------------------------------------------------------------------------------


def test_what_lacks_its_peer_is_passed_over_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(runs: int) -> Comparison:
        raise ModuleNotFoundError("No module named 'faiss'")

    monkeypatch.setitem(BENCHMARKS, "topk_vs_faiss", lack)
    monkeypatch.setitem(
        BENCHMARKS, "topk_vs_matmul", lambda runs: Comparison(1.0, 2.0, runs, exact=True)
    )
    file = tmp_path / "results.json"
    names = ["topk_vs_matmul", "topk_vs_faiss"]
    done = CliRunner().invoke(main, [*names, "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert "topk_vs_faiss: passed over No module named 'faiss'" in done.output
    timed, passed = json.loads(file.read_text())
    assert timed["ratio"] == 2.0
    assert passed == {"name": "topk_vs_faiss", "passed over": "No module named 'faiss'"}


def test_what_was_measured_is_in_the_file_when_the_next_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(runs: int) -> Comparison:
        raise RuntimeError("broken")

    monkeypatch.setitem(
        BENCHMARKS, "topk_vs_matmul", lambda runs: Comparison(1.0, 2.0, runs, exact=True)
    )
    monkeypatch.setitem(BENCHMARKS, "topk_vs_faiss", fail)
    file = tmp_path / "results.json"
    done = CliRunner().invoke(main, ["topk_vs_matmul", "topk_vs_faiss", "--json", str(file)])
    assert isinstance(done.exception, RuntimeError)
    assert [row["name"] for row in json.loads(file.read_text())] == ["topk_vs_matmul"]


@pytest.mark.parametrize("name", ["lists_vs_peers", "lists_vs_published", "ease_ranks"])
def test_a_table_without_its_data_says_which(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"benchmarks.{TABLES[name][0]}")
    monkeypatch.setattr(module, "DATA", tmp_path / "nowhere")
    file = tmp_path / "results.json"
    done = CliRunner().invoke(main, [name, "--json", str(file)])
    assert done.exit_code == 0, done.output
    rows = json.loads(file.read_text())
    assert rows
    assert all(f"{tmp_path}/nowhere" in row["passed over"] for row in rows)


# --- Tables, on ratings of a few users ------------------------------------------------------------


def draw_ratings(n_users: int = 120, n_items: int = 60) -> csr_matrix:
    """Two kinds of users, each of which rates one half of the items more often."""
    rng = np.random.default_rng(0)
    chance = np.where(np.arange(n_users)[:, None] % 2 == np.arange(n_items) % 2, 0.6, 0.1)
    rated = rng.random((n_users, n_items)) < chance
    return csr_matrix(np.where(rated, rng.integers(1, 6, rated.shape), 0).astype(np.float32))


ALS = {"iterations": 2, "regularization": 1.0, "frequency_exponent": 0.0}
SLIM = {"neighbours": 10, "regularization": 5.0, "activity_exponent": 0.25, "rating_weight": 0.2}
FEW = {
    "als": Candidate("als", {**ALS, "n_factors": 4}, {"unobserved_weight": [1e-9, 0.1]}),
    "slim": Candidate("slim", {**SLIM, "popularity_exponent": 0.0}),
    "blend": list_quality.BLEND,
}


def test_models_and_peers_are_held_against_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataSet(lambda _: draw_ratings(), 2, FEW, [], [], [1.0, 10.0])
    monkeypatch.setattr(list_quality, "DATA_SETS", {"a few": data})
    monkeypatch.delitem(list_quality.PEERS, "implicit's ALS")
    file = tmp_path / "results.json"
    done = CliRunner().invoke(main, ["lists_vs_peers", "--json", str(file)])
    assert done.exit_code == 0, done.output
    rows = {row["model"]: row for row in json.loads(file.read_text())}
    assert [*rows] == ["popularity", "full EASE", *FEW]
    ours, peer = rows["als"], rows["full EASE"]
    assert 0 < rows["popularity"]["any"] < ours["any"] <= 1
    assert ours["any / full EASE"] == pytest.approx(ours["any"] / peer["any"])
    assert ours["liked / full EASE"] == pytest.approx(ours["liked"] / peer["liked"])
    assert ours["chosen"] == "unobserved_weight 0.1"


def test_settings_are_chosen_by_ratings_that_were_held_out_of_training() -> None:
    ratings = draw_ratings()
    measured = []

    def score(model: object, split: list_quality.Split) -> float:
        measured.append(split)
        return 0.0

    chosen = choose_settings(
        ratings, "als", {**ALS, "unobserved_weight": 0.1}, {"n_factors": [2, 4]}, score
    )
    assert chosen["n_factors"] == 2
    inner = measured[0]
    assert inner.train.nnz + inner.held_out.nnz == ratings.nnz
    assert inner.train.multiply(inner.held_out).nnz == 0


def test_full_ease_is_the_minimum_of_its_objective() -> None:
    seen = (draw_ratings() > 0).astype(np.float64).toarray()
    gram = np.asfortranarray(seen.T @ seen)
    weights = solve_full_ease(gram, 3.0).astype(np.float64)
    assert np.array_equal(gram, seen.T @ seen)  # the next lambda begins with it
    gradient = seen.T @ (seen @ weights - seen) + 3.0 * weights
    np.fill_diagonal(gradient, 0.0)  # held at zero, where the objective has no minimum
    assert np.abs(gradient).max() < 1e-3
    assert np.all(np.diag(weights) == 0)


def test_a_list_by_dense_scores_leaves_out_what_is_known() -> None:
    known = draw_ratings()
    weights = np.random.default_rng(1).standard_normal((60, 60)).astype(np.float32)
    scores = (known.toarray() > 0).astype(np.float32) @ weights
    scores[known.nonzero()] = -np.inf
    lists = list_quality.rank_densely(weights, known)
    expected = np.argsort(-scores, axis=1)[:, : list_quality.K]
    assert np.array_equal(lists.item_index.reshape(expected.shape), expected)


@pytest.mark.long
def test_models_are_trained_apart_and_stand_beside_published_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = list_quality.hold_out_at_random(draw_ratings(), fraction=0.2, seed=0)
    (tmp_path / "gowalla").mkdir()
    for part, matrix in (("train", split.train), ("test", split.held_out)):
        save_npz(tmp_path / "gowalla" / f"gowalla_{part}.npz", matrix)
    monkeypatch.setattr(published_lists, "DATA", tmp_path)
    monkeypatch.setattr(published_lists, "OURS", FEW)
    rows = {row["model"]: row for row in published_lists.tabulate_published()}
    assert rows["EASE"]["Recall@20"] == 0.1765
    for name in FEW:
        assert 0 < rows[name]["NDCG@20"] <= 1
        assert rows[name]["train, s"] > 0
        assert 0 <= rows[name]["GB beside the ratings"] < 1


def test_the_measured_users_are_the_same_for_every_share(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def measure(model: object, split: list_quality.Split) -> list_quality.Quality:
        measured.append(split.held_out)
        return list_quality.Quality(0.5, 0.5)

    monkeypatch.setattr(users_in_training, "measure_model", measure)
    settings = {**ALS, "n_factors": 2, "unobserved_weight": 0.1}
    rows = [*users_in_training.follow_shares(draw_ratings(1_000), {"als": settings})]
    assert [row["users"] for row in rows] == [800, 240, 80, 24, 8]
    assert {row["of all users'"] for row in rows} == {1.0}
    assert all(each is measured[0] for each in measured)


def test_the_sparse_part_is_timed_against_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("N_ITEMS", "MANY_ITEMS"):
        monkeypatch.setattr(f"benchmarks.top_k_peers.{name}", 400)
    rows = [*time_slim_scoring(n_users=64, runs=1)]
    assert [row["ranked by"] for row in rows] == ["slim", "slim", "slim and 128 factors"]
    assert all(row["ratio"] == pytest.approx(row["users/s"] / row["its users/s"]) for row in rows)


def test_a_training_is_below_its_bar_by_time_and_by_memory() -> None:
    def hold(seconds: float, growth: float) -> bool:
        done = training_scale.Training(None, seconds, 0.0, growth)
        ratings = random(3, 4, 0.5, "csr", random_state=0)
        row = training_scale._hold_to("{} x {}, {}", ratings, [done], (15.0, 2e9))
        assert row["training"] == "3 x 4, 6"
        return bool(row["below it"])

    assert hold(14.0, 1e9)
    assert not hold(16.0, 1e9)
    assert not hold(14.0, 3e9)

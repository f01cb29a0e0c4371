"""The benchmark command: its names, its file, and that a wrong answer fails it."""

import json
from pathlib import Path

import pytest
from benchmarks.bench import BENCHMARKS, LONG, main
from benchmarks.timing import Comparison, compare
from benchmarks.top_k_peers import Problem
from click.testing import CliRunner
from scipy.sparse import csr_matrix

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

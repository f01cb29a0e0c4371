"""The ten questions of questions.sql in Polars.

    python conf/examples/queries/questions_polars.py [OUTPUT]

OUTPUT is an output of the job, else output/sample.
"""

import json
import sys
from pathlib import Path

import polars as pl

output = Path(sys.argv[1] if len(sys.argv) > 1 else "output/sample")
run = json.loads((output / "CURRENT.json").read_text())["path"]
before = max(f"runs/{one.name}" for one in (output / "runs").iterdir() if f"runs/{one.name}" < run)
lists, items, excluded = (
    pl.scan_parquet(f"{output}/{run}/{table}/*.parquet")
    for table in ("recommendations", "item_clusters", "excluded")
)
previous = pl.scan_parquet(f"{output}/{before}/recommendations/*.parquet")
listed = lists.select("item_id").unique().with_columns(listed=1)
genres = items.select("item_id", genre=pl.col("genres").str.split("|")).explode("genre")

answers = [
    # 1. The list of one user, with titles
    lists.filter(pl.col("user_id") == 42)
    .join(items, on="item_id")
    .sort("rank")
    .select("rank", "title", "score"),
    # 2. The users to whom an item is recommended
    lists.filter(pl.col("item_id") == 25).select("user_id", "rank").sort("rank", "user_id"),
    # 3. The items recommended most often
    lists.group_by("item_id")
    .agg(lists=pl.len())
    .sort("lists", "item_id", descending=[True, False])
    .head(10),
    # 4. The items recommended to nobody
    items.join(lists, on="item_id", how="anti")
    .select("item_id", "rating_count")
    .sort("rating_count", "item_id", descending=[True, False]),
    # 5. Coverage by genre: its items, and those of them in any list
    genres.join(listed, on="item_id", how="left")
    .group_by("genre")
    .agg(items=pl.len(), recommended=pl.col("listed").count())
    .sort("genre"),
    # 6. The clusters with most ratings
    items.group_by("cluster")
    .agg(items=pl.len(), ratings=pl.col("rating_count").sum())
    .sort("ratings", "cluster", descending=[True, False]),
    # 7. What each cluster has of the lists
    lists.join(items, on="item_id")
    .group_by("cluster")
    .agg(places=pl.len(), users=pl.col("user_id").n_unique())
    .sort("cluster"),
    # 8. The users whose list is not what it was in the run before, and by how many items
    lists.join(previous, on=["user_id", "item_id"], how="anti")
    .group_by("user_id")
    .agg(new_items=pl.len())
    .sort("new_items", "user_id", descending=[True, False]),
    # 9. Users by what made their list: the model, or popularity
    lists.group_by("source").agg(users=pl.col("user_id").n_unique()).sort("source"),
    # 10. What is left out, and why
    excluded.group_by("kind", "reason").agg(n=pl.len()).sort("kind", "reason"),
]
for answer in answers:
    print(answer.collect())

"""The ten questions of questions.sql in pandas.

    ./spark-submit.sh shell conf/examples/queries/questions_pandas.py [OUTPUT]

OUTPUT is an output of the job, else output/sample.
"""

import json
import sys
from pathlib import Path

import pandas as pd

output = Path(sys.argv[1] if len(sys.argv) > 1 else "output/sample")
run = json.loads((output / "CURRENT.json").read_text())["path"]
before = max(f"runs/{one.name}" for one in (output / "runs").iterdir() if f"runs/{one.name}" < run)
lists, items, excluded = (
    pd.read_parquet(output / run / table)
    for table in ("recommendations", "item_clusters", "excluded")
)
previous = pd.read_parquet(output / before / "recommendations", columns=["user_id", "item_id"])
titled = lists.merge(items, on="item_id")
genres = items.assign(genre=items["genres"].str.split("|")).explode("genre")
both = lists.merge(previous, on=["user_id", "item_id"], how="left", indicator=True)

answers = [
    # 1. The list of one user, with titles
    titled[titled["user_id"] == 42].sort_values("rank")[["rank", "title", "score"]],
    # 2. The users to whom an item is recommended
    lists[lists["item_id"] == 25].sort_values(["rank", "user_id"])[["user_id", "rank"]],
    # 3. The items recommended most often
    lists.groupby("item_id")
    .size()
    .reset_index(name="lists")
    .sort_values(["lists", "item_id"], ascending=[False, True])
    .head(10),
    # 4. The items recommended to nobody
    items[~items["item_id"].isin(lists["item_id"])].sort_values(
        ["rating_count", "item_id"], ascending=[False, True]
    )[["item_id", "rating_count"]],
    # 5. Coverage by genre: its items, and those of them in any list
    genres.assign(listed=genres["item_id"].isin(lists["item_id"]))
    .groupby("genre")["listed"]
    .agg(items="size", recommended="sum")
    .reset_index(),
    # 6. The clusters with most ratings
    items.groupby("cluster")
    .agg(items=("item_id", "size"), ratings=("rating_count", "sum"))
    .reset_index()
    .sort_values(["ratings", "cluster"], ascending=[False, True]),
    # 7. What each cluster has of the lists
    titled.groupby("cluster")
    .agg(places=("user_id", "size"), users=("user_id", "nunique"))
    .reset_index(),
    # 8. The users whose list is not what it was in the run before, and by how many items
    both[both["_merge"] == "left_only"]
    .groupby("user_id")
    .size()
    .reset_index(name="new_items")
    .sort_values(["new_items", "user_id"], ascending=[False, True]),
    # 9. Users by what made their list: the model, or popularity
    lists.groupby("source")["user_id"].nunique().reset_index(name="users"),
    # 10. What is left out, and why
    excluded.groupby(["kind", "reason"]).size().reset_index(name="n"),
]
for answer in answers:
    print(answer)

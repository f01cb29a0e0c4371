-- Ten questions that analysts ask. They are the same for DuckDB and Spark SQL; views_duckdb.sql and
-- views_spark.sql make the tables they ask.

-- 1. The list of one user, with titles
SELECT r.rank, c.title, r.score
FROM recommendations r JOIN item_clusters c USING (item_id)
WHERE r.user_id = 42 ORDER BY r.rank;

-- 2. The users to whom an item is recommended
SELECT user_id, rank FROM recommendations WHERE item_id = 25 ORDER BY rank, user_id;

-- 3. The items recommended most often
SELECT item_id, count(*) AS lists FROM recommendations
GROUP BY item_id ORDER BY lists DESC, item_id LIMIT 10;

-- 4. The items recommended to nobody
SELECT c.item_id, c.rating_count
FROM item_clusters c LEFT JOIN recommendations r ON c.item_id = r.item_id
WHERE r.item_id IS NULL ORDER BY c.rating_count DESC, c.item_id;

-- 5. Coverage by genre: its items, and those of them in any list
SELECT genre, count(*) AS items, count(listed.item_id) AS recommended
FROM item_genres LEFT JOIN (SELECT DISTINCT item_id FROM recommendations) AS listed USING (item_id)
GROUP BY genre ORDER BY genre;

-- 6. The clusters with most ratings
SELECT cluster, count(*) AS items, CAST(sum(rating_count) AS BIGINT) AS ratings
FROM item_clusters GROUP BY cluster ORDER BY ratings DESC, cluster;

-- 7. What each cluster has of the lists
SELECT c.cluster, count(*) AS places, count(DISTINCT r.user_id) AS users
FROM recommendations r JOIN item_clusters c USING (item_id)
GROUP BY c.cluster ORDER BY c.cluster;

-- 8. The users whose list is not what it was in the run before, and by how many items
SELECT r.user_id, count(*) AS new_items
FROM recommendations r ANTI JOIN previous p ON r.user_id = p.user_id AND r.item_id = p.item_id
GROUP BY r.user_id ORDER BY new_items DESC, r.user_id;

-- 9. Users by what made their list: the model, or popularity
SELECT source, count(DISTINCT user_id) AS users FROM recommendations
GROUP BY source ORDER BY source;

-- 10. What is left out, and why
SELECT kind, reason, count(*) AS n FROM excluded GROUP BY kind, reason ORDER BY kind, reason;

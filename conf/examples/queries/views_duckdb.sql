-- The tables of the current run as views for DuckDB, and the lists of the run before it. With the
-- questions:
--   duckdb -init conf/examples/queries/views_duckdb.sql -f conf/examples/queries/questions.sql
SET VARIABLE output = 'output/sample';

SET VARIABLE run = (
  SELECT getvariable('output') || '/' || path FROM read_json(getvariable('output') || '/CURRENT.json')
);
SET VARIABLE before = (
  SELECT max(parse_dirpath(file)) FROM glob(getvariable('output') || '/runs/*/manifest.json') AS runs(file)
  WHERE parse_dirpath(file) < getvariable('run')
);

CREATE OR REPLACE VIEW recommendations AS FROM read_parquet(getvariable('run') || '/recommendations/*.parquet');
CREATE OR REPLACE VIEW previous AS FROM read_parquet(getvariable('before') || '/recommendations/*.parquet');
CREATE OR REPLACE VIEW item_clusters AS FROM read_parquet(getvariable('run') || '/item_clusters/*.parquet');
CREATE OR REPLACE VIEW excluded AS FROM read_parquet(getvariable('run') || '/excluded/*.parquet');
CREATE OR REPLACE VIEW item_genres AS
  SELECT item_id, unnest(string_split(genres, '|')) AS genre FROM item_clusters;

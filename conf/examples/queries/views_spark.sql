-- The tables of the current run as views for Spark SQL, and the lists of the run before it. With
-- the questions:
--   spark-sql -i conf/examples/queries/views_spark.sql -f conf/examples/queries/questions.sql
DECLARE OR REPLACE VARIABLE output = 'output/sample';

DECLARE OR REPLACE VARIABLE run STRING;
SET VARIABLE run = (
  SELECT first(regexp_extract(value, '"path": "([^"]+)"', 1))
  FROM IDENTIFIER('text.`' || output || '/CURRENT.json`') WHERE value LIKE '%"path"%'
);
DECLARE OR REPLACE VARIABLE before STRING;
SET VARIABLE before = (
  SELECT max(regexp_extract(_metadata.file_path, 'runs/[^/]+', 0))
  FROM IDENTIFIER('text.`' || output || '/runs/*/manifest.json`')
  WHERE regexp_extract(_metadata.file_path, 'runs/[^/]+', 0) < run
);

-- A view cannot name its files by a variable, so each statement is put together and then executed.
DECLARE OR REPLACE VARIABLE make_view STRING;
SET VARIABLE make_view = 'CREATE OR REPLACE TEMPORARY VIEW recommendations AS SELECT * FROM parquet.`'
  || output || '/' || run || '/recommendations`';
EXECUTE IMMEDIATE make_view;
SET VARIABLE make_view = 'CREATE OR REPLACE TEMPORARY VIEW previous AS SELECT * FROM parquet.`'
  || output || '/' || before || '/recommendations`';
EXECUTE IMMEDIATE make_view;
SET VARIABLE make_view = 'CREATE OR REPLACE TEMPORARY VIEW item_clusters AS SELECT * FROM parquet.`'
  || output || '/' || run || '/item_clusters`';
EXECUTE IMMEDIATE make_view;
SET VARIABLE make_view = 'CREATE OR REPLACE TEMPORARY VIEW excluded AS SELECT * FROM parquet.`'
  || output || '/' || run || '/excluded`';
EXECUTE IMMEDIATE make_view;

CREATE OR REPLACE TEMPORARY VIEW item_genres AS
  SELECT item_id, explode(split(genres, '[|]')) AS genre FROM item_clusters;

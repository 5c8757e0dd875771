-- A row is the latest version of a key among the pages: a walk that repeats the last second of a
-- page meets some rows twice.
CREATE OR REPLACE TABLE memory.main.staged AS
SELECT *
FROM memory.main.staged
QUALIFY
    row_number() OVER (PARTITION BY {{key}} ORDER BY {{changed}} DESC NULLS LAST) = 1

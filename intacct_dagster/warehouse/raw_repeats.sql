-- A row is a row of the stage whose key is there more than once, by its place in the stage: a walk
-- meets the last second of a page again on the next. `wanted` is the latest version of the key.
-- Keys are found by their hash first, so that the memory this takes does not depend on their text.
CREATE TABLE memory.main.repeats AS
SELECT
    file_row_number AS place,
    row_number() OVER (PARTITION BY {{key}} ORDER BY {{changed}} DESC NULLS LAST, file_row_number DESC) = 1
        AS wanted
FROM memory.main.staged
WHERE hash({{key}}) IN (SELECT hash({{key}}) FROM memory.main.staged GROUP BY 1 HAVING count(*) > 1)

-- A row is a version that was read by the same entity before, and again after, with nothing different
-- in between: neither the first nor the last time that it was read.
CREATE OR REPLACE TEMP TABLE repeats AS
SELECT place, load_id
FROM (
    SELECT
        rowid AS place,
        _load_id AS load_id,
        content,
        lag(content) OVER reads AS before,
        lead(content) OVER reads AS after
    FROM (
        SELECT
            read.rowid,
            read._load_id,
            read._read_at,
            read._entity,
            read.{{key}} AS key,
            md5(CAST(({{content}}) AS VARCHAR)) AS content
        FROM {{raw}} AS read
    )
    WINDOW reads AS (PARTITION BY key, _entity ORDER BY _read_at, _load_id, rowid)
)
WHERE content = before AND content = after AND load_id > 0

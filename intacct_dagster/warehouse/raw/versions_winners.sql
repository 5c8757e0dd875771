-- A row is the version that counts of a contested unit.
CREATE OR REPLACE TEMP TABLE winners AS
SELECT key, load_id, place
FROM (
    SELECT
        *,
        max(read_at) OVER (PARTITION BY key) AS newest
    FROM temp.main.candidates
)
WHERE read_at >= newest - {{lag}}
QUALIFY
    row_number() OVER (
        PARTITION BY key
        ORDER BY changed DESC NULLS LAST, is_owner DESC, rank, read_at DESC, load_id DESC, place DESC
    ) = 1

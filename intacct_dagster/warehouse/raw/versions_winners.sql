-- A row is the version that counts of a contested unit. Of an entity's readings with one change time
-- only the last says something. Without change times it does however old it is: what a reading of the
-- whole object has as before is not stored again.
CREATE OR REPLACE TEMP TABLE winners AS
SELECT key, load_id, read_by, changed, place
FROM (
    SELECT
        *,
        max(read_at) OVER (PARTITION BY key) AS newest,
        row_number() OVER (
            PARTITION BY key, entity, changed ORDER BY read_at DESC, load_id DESC, place DESC
        ) AS age
    FROM temp.main.candidates
)
WHERE age = 1 AND ({{is_snapshot}} OR read_at >= newest - {{lag}})
QUALIFY
    row_number() OVER (
        PARTITION BY key
        ORDER BY changed DESC NULLS LAST, is_owner DESC, rank, read_at DESC, load_id DESC, place DESC
    ) = 1

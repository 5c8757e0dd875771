-- A row is a record as an entity's readings have it: its last change time, and whether it counts as
-- seen (not: it was found gone after it was read last).
CREATE OR REPLACE TABLE memory.main.known AS
WITH gone AS (
    SELECT key, max({'read_at': found_at, 'load_id': load_id}) AS since
    FROM warehouse.meta.tombstones
    WHERE object = {{object}} AND (everywhere OR entity = {{entity}}) AND revived_at IS NULL
    GROUP BY key
),

read AS (
    SELECT
        read.{{key}} AS key,
        max({{changed}}) AS changed,
        max({'read_at': read._read_at, 'load_id': read._load_id}) AS last
    FROM {{raw}} AS read
    LEFT JOIN warehouse.meta.entities AS named ON named.entity = read._entity
    ANTI JOIN (
        SELECT load_id
        FROM warehouse.meta.loads
        WHERE object = {{object}} AND withdrawn_at IS NOT NULL
    ) AS withdrawn ON withdrawn.load_id = read._load_id
    WHERE coalesce(named.name, read._entity) = {{entity}}
    GROUP BY read.{{key}}
)

SELECT read.key, read.changed
FROM read
LEFT JOIN gone ON gone.key = read.key
WHERE coalesce(gone.since < read.last, true)

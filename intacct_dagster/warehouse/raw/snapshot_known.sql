-- A row is a record as an entity's readings so far have it: its last version, unless it was gone after.
CREATE OR REPLACE TEMP TABLE known AS
WITH gone AS (
    SELECT key, max({'read_at': found_at, 'load_id': load_id}) AS since
    FROM warehouse.meta.tombstones
    WHERE object = {{object}} AND (everywhere OR entity = {{entity}}) AND revived_at IS NULL
    GROUP BY key
)

SELECT read.*
FROM {{raw}} AS read
LEFT JOIN warehouse.meta.entities AS named ON named.entity = read._entity
ANTI JOIN (
    SELECT load_id
    FROM warehouse.meta.loads
    WHERE object = {{object}} AND withdrawn_at IS NOT NULL
) AS withdrawn ON withdrawn.load_id = read._load_id
LEFT JOIN gone ON gone.key = read.{{key}}
WHERE
    coalesce(named.name, read._entity) = {{entity}}
    AND coalesce(gone.since < {'read_at': read._read_at, 'load_id': read._load_id}, true)
QUALIFY
    row_number() OVER (
        PARTITION BY read.{{key}} ORDER BY read._read_at DESC, read._load_id DESC, read.rowid DESC
    ) = 1

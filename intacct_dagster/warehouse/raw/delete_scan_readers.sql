-- A row is a key and an entity that has read it, and was not found since to see it no more.
WITH gone AS (
    SELECT
        key,
        CASE WHEN NOT everywhere THEN entity END AS entity,
        max({'read_at': found_at, 'load_id': load_id}) AS since
    FROM warehouse.meta.tombstones
    WHERE object = {{object}} AND revived_at IS NULL AND key IN ({{keys}})
    GROUP BY ALL
),

read AS (
    SELECT
        read.{{key}} AS key,
        coalesce(named.name, read._entity) AS entity,
        max({'read_at': read._read_at, 'load_id': read._load_id}) AS last
    FROM {{raw}} AS read
    LEFT JOIN warehouse.meta.entities AS named ON named.entity = read._entity
    WHERE read.{{key}} IN ({{keys}})
    GROUP BY ALL
)

SELECT read.key, read.entity
FROM read
ANTI JOIN gone
    ON gone.key = read.key
    AND coalesce(gone.entity, read.entity) = read.entity
    AND gone.since >= read.last
ORDER BY ALL

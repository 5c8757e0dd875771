-- A row is a version of a contested unit that may count: its load was not withdrawn, and it was read
-- after its record was found gone, if it was.
CREATE OR REPLACE TEMP TABLE candidates AS
SELECT
    read.{{unit_of_versions}} AS key,
    coalesce(named.name, read._entity) AS entity,
    read._entity AS read_by,
    read._load_id AS load_id,
    read._read_at AS read_at,
    {{changed}} AS changed,
    coalesce({{owner}} = read._entity, false) AS is_owner,
    coalesce(named.rank, 1000000) AS rank,
    read.rowid AS place
FROM {{versions}} AS read
SEMI JOIN temp.main.contested AS contested ON contested.key = read.{{unit_of_versions}}
ANTI JOIN (
    SELECT load_id
    FROM warehouse.meta.loads
    WHERE object = {{object}} AND withdrawn_at IS NOT NULL
) AS withdrawn ON withdrawn.load_id = read._load_id
LEFT JOIN warehouse.meta.entities AS named ON named.entity = read._entity
LEFT JOIN temp.main.gone AS everywhere
    ON everywhere.key = read.{{unit_of_versions}} AND everywhere.entity IS NULL
LEFT JOIN temp.main.gone AS here
    ON here.key = read.{{unit_of_versions}} AND here.entity = coalesce(named.name, read._entity)
WHERE
    {{is_line}}
    OR (
        coalesce(everywhere.since < {'read_at': read._read_at, 'load_id': read._load_id}, true)
        AND coalesce(here.since < {'read_at': read._read_at, 'load_id': read._load_id}, true)
    )

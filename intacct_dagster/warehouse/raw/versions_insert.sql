-- A row is a version that counts. Of lines, those that were found gone after they were read are not.
INSERT INTO {{current}} BY NAME
SELECT {{columns}}
FROM {{raw}} AS read
LEFT JOIN warehouse.meta.entities AS named ON named.entity = read._entity
LEFT JOIN temp.main.gone AS everywhere
    ON {{is_line}} AND everywhere.key = read.{{key}} AND everywhere.entity IS NULL
LEFT JOIN temp.main.gone AS here
    ON {{is_line}} AND here.key = read.{{key}} AND here.entity = coalesce(named.name, read._entity)
WHERE
    ({{where}})
    AND coalesce(everywhere.since < {'read_at': read._read_at, 'load_id': read._load_id}, true)
    AND coalesce(here.since < {'read_at': read._read_at, 'load_id': read._load_id}, true)

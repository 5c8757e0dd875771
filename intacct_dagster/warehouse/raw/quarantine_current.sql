-- A row is a field of an object and a reason: how many values of current versions are not in their
-- column as they were sent, and one of them.
SELECT
    quarantine.path,
    any_value(quarantine.column_type),
    count(DISTINCT quarantine.key),
    max(quarantine.key),
    arg_max(quarantine.value, quarantine.key),
    {{reason}} AS reason
FROM raw.quarantine AS quarantine
LEFT JOIN meta.entities AS named ON named.entity = quarantine.entity
INNER JOIN {{current}} AS current
    ON current.{{key}} = quarantine.key
    AND current._entity = coalesce(named.name, quarantine.entity)
    AND current._load_id BETWEEN {{first_load}} AND quarantine.load_id
WHERE quarantine.object = $object
GROUP BY quarantine.path, {{reason}}

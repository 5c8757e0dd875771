-- A row is a value that the entity's reading before this one had in quarantine as well: it is the same
-- row, which now also stands for this load.
UPDATE warehouse.raw.quarantine AS known
SET
    load_id = CAST($load_id AS BIGINT),
    run_id = CAST($run_id AS VARCHAR),
    extracted_at = CAST($extracted_at AS TIMESTAMP WITH TIME ZONE),
    first_load_id = coalesce(known.first_load_id, known.load_id),
    reason = flawed.reason
FROM temp.main.flawed AS flawed
WHERE
    known.object = $object
    AND known.entity = $entity
    AND known.key = flawed.key
    AND known.column_name = flawed.column_name
    AND known.value IS NOT DISTINCT FROM flawed.value
    AND known.is_rounded = flawed.is_rounded
    AND known.load_id < CAST($load_id AS BIGINT)
    AND NOT EXISTS (
        SELECT 1
        FROM {{raw}} AS between_them
        WHERE
            between_them.{{key}} = known.key
            AND between_them._entity = known.entity
            AND between_them._load_id > known.load_id
            AND between_them._load_id < {{load}}
    )

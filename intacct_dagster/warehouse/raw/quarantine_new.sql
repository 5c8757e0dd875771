-- A row is a value of a load that could not be converted, and that was not known before.
INSERT INTO warehouse.raw.quarantine BY NAME
SELECT
    CAST($object AS VARCHAR) AS object,
    CAST($entity AS VARCHAR) AS entity,
    flawed.*,
    CAST($load_id AS BIGINT) AS load_id,
    CAST($load_id AS BIGINT) AS first_load_id,
    CAST($run_id AS VARCHAR) AS run_id,
    CAST($extracted_at AS TIMESTAMP WITH TIME ZONE) AS extracted_at
FROM temp.main.flawed AS flawed
WHERE NOT EXISTS (
    SELECT 1
    FROM warehouse.raw.quarantine AS known
    WHERE
        known.object = $object
        AND known.entity = $entity
        AND known.key = flawed.key
        AND known.column_name = flawed.column_name
        AND known.load_id = CAST($load_id AS BIGINT)
)

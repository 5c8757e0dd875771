-- A row is a value of a load that could not be converted.
INSERT INTO warehouse.raw.quarantine BY NAME
SELECT
    CAST($object AS VARCHAR) AS object,
    CAST($entity AS VARCHAR) AS entity,
    key,
    flaw.path AS path,
    flaw.name AS column_name,
    flaw.type AS column_type,
    flaw.value AS value,
    flaw.is_rounded AS is_rounded,
    flaw.reason AS reason,
    CAST($load_id AS BIGINT) AS load_id,
    CAST($run_id AS VARCHAR) AS run_id,
    CAST($extracted_at AS TIMESTAMP WITH TIME ZONE) AS extracted_at
FROM (
    SELECT {{key}} AS key, unnest(list_filter([{{found}}], lambda each: each IS NOT NULL)) AS flaw
    FROM {{pages}}
)

-- A row is a load.
INSERT INTO warehouse.meta.loads BY NAME
SELECT
    CAST($load_id AS BIGINT) AS load_id,
    CAST($object AS VARCHAR) AS object,
    CAST($entity AS VARCHAR) AS entity,
    CAST($kind AS VARCHAR) AS kind,
    CAST($run_id AS VARCHAR) AS run_id,
    CAST($extracted_at AS TIMESTAMP WITH TIME ZONE) AS extracted_at,
    CAST($read_from AS TIMESTAMP WITH TIME ZONE) AS read_from,
    CAST($read_to AS TIMESTAMP WITH TIME ZONE) AS read_to,
    CAST($first_day AS DATE) AS first_day,
    CAST($last_day AS DATE) AS last_day,
    coalesce(
        CAST($read_until AS TIMESTAMP WITH TIME ZONE),
        CAST(CAST($last_day AS DATE) + 1 AS TIMESTAMP WITH TIME ZONE)
    ) AS read_until,
    CAST($rows AS BIGINT) AS rows,
    CAST($distinct_keys AS BIGINT) AS distinct_keys,
    CAST($total_count AS BIGINT) AS total_count,
    CAST($requests AS BIGINT) AS requests,
    0 AS went_back

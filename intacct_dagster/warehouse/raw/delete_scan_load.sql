-- A row is a delete scan.
INSERT INTO warehouse.meta.loads BY NAME
SELECT
    CAST($load_id AS BIGINT) AS load_id,
    CAST($object AS VARCHAR) AS object,
    CAST($entity AS VARCHAR) AS entity,
    'delete_scan' AS kind,
    CAST($run_id AS VARCHAR) AS run_id,
    CAST($found_at AS TIMESTAMP WITH TIME ZONE) AS extracted_at,
    CAST($found_at AS TIMESTAMP WITH TIME ZONE) AS read_from,
    CAST($found_at AS TIMESTAMP WITH TIME ZONE) AS read_to,
    CAST(CAST($since AS TIMESTAMP WITH TIME ZONE) AS DATE) AS first_day,
    CAST($gone AS BIGINT) AS rows,
    CAST($seen AS BIGINT) AS distinct_keys,
    CAST($seen AS BIGINT) AS total_count,
    0 AS went_back

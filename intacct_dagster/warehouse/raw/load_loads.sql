-- A row is a (object, entity, day) that was loaded: how many rows, by which run, and its proof.
INSERT INTO warehouse.meta.raw_loads BY NAME
SELECT
    CAST($object AS VARCHAR) AS object,
    CAST($entity AS VARCHAR) AS entity,
    days.day,
    days.rows,
    CAST($run_id AS VARCHAR) AS run_id,
    CAST($extracted_at AS TIMESTAMP WITH TIME ZONE) AS extracted_at,
    CAST($takes_older AS BOOLEAN) AND days.day = CAST($first_day AS DATE) AS takes_older,
    CAST($walk_days AS BIGINT) AS walk_days,
    CAST($distinct_keys AS BIGINT) AS distinct_keys,
    CAST($total_count AS BIGINT) AS total_count,
    CAST($requests AS BIGINT) AS requests,
    -- the days before the last one are over, whenever reading ended
    CASE
        WHEN CAST($read_until AS TIMESTAMP WITH TIME ZONE) < CAST(days.day + 1 AS TIMESTAMP WITH TIME ZONE)
            THEN CAST($read_until AS TIMESTAMP WITH TIME ZONE)
    END AS read_until,
    CAST($snapshot AS BOOLEAN) AS snapshot,
    CAST($dated_by AS VARCHAR) AS dated_by,
    CAST($load_id AS BIGINT) AS load_id,
    CAST($read_to AS TIMESTAMP WITH TIME ZONE) AS read_to
FROM (SELECT unnest($days::DATE[]) AS day, unnest($rows::BIGINT[]) AS rows) AS days

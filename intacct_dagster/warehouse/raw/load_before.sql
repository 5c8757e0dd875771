-- A row is a load that read the same in the same run: the rows that it added, and how many are there.
SELECT
    loads.load_id,
    loads.rows,
    (SELECT count(*) FROM {{raw}} WHERE _load_id = loads.load_id) AS there
FROM warehouse.meta.loads AS loads
WHERE
    loads.object = $object
    AND loads.entity = $entity
    AND loads.kind = $kind
    AND loads.run_id = $run_id
    AND loads.extracted_at = $extracted_at
    AND loads.first_day IS NOT DISTINCT FROM $first_day
    AND loads.last_day IS NOT DISTINCT FROM $last_day
    AND loads.withdrawn_at IS NULL
ORDER BY loads.load_id
